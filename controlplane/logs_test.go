package controlplane

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tesseraapi "github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// TestLogsAreServed: who follows the logs reads them over HTTP, for as long as the control
// plane runs.
func TestLogsAreServed(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	if addr := p.cp.LogAddr(); addr != nil {
		t.Errorf("logs are served at %v, and nobody has asked for it", addr)
	}
	p.stop()
	p.config.LogListen = "127.0.0.1:0"
	p.start()
	p.publish(1, "")
	p.deliverBoth()
	url := "http://" + p.cp.LogAddr().String() + "/onprem.demo/checkpoint"
	want := translog.OriginOf("onprem.demo") + "\n"
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		status, text, err := get(url)
		if err != nil {
			t.Fatal(err)
		}
		if status == http.StatusOK && strings.HasPrefix(text, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d, %q, want a checkpoint that begins with %q", url, status, text, want)
		}
	}
	p.stop()
	if status, text, err := get(url); err == nil {
		t.Errorf("served after the control plane has ended: %d, %q", status, text)
	}
}

// TestDamagedLogHeals: a log whose entries are damaged while the control plane is stopped is
// whole when it runs again, and every entry of before is proven by what it signs then.
func TestDamagedLogHeals(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	first := p.publish(1, "")
	p.logged("onprem.demo", 1)
	p.stop()
	before := p.stopped("onprem.demo")
	path := p.bundleOf(before)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 1
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, whole) {
		t.Errorf("%s is not what it was: %v", path, err)
	}
	p.publish(2, signed.Revision(first.GetPolicy()))
	after, r := p.logged("onprem.demo", before.Size+1)
	for i := range before.Size {
		path, err := r.Inclusion(t.Context(), i, after.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(asHashes(path), int64(after.Size), tlog.Hash(after.Root), int64(i), leafOf(t, whole, i)); err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	growth, err := r.Consistency(t.Context(), before.Size, after.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(asHashes(growth), int64(after.Size), tlog.Hash(after.Root), int64(before.Size), tlog.Hash(before.Root)); err != nil {
		t.Error(err)
	}
	resp, err := controlv1.NewLogServiceClient(p.operator()).ListLogs(t.Context(), &controlv1.ListLogsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range resp.GetLogs() {
		if l.GetFailed() != "" {
			t.Errorf("the log of %s: %s", l.GetTrustDomain(), l.GetFailed())
		}
	}
}

// logged waits for a checkpoint of a log with so many entries.
func (p *plane) logged(td string, size uint64) (*translog.Checkpoint, *translog.Reader) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		r, err := p.cp.logs.Reader(td)
		if err == nil {
			if c, err := r.Checkpoint(p.t.Context()); err == nil && c.Size >= size {
				return c, r
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no checkpoint of %s with %d entries: %v", td, size, err)
		}
	}
}

// stopped is the last checkpoint of a log that nobody appends to.
func (p *plane) stopped(td string) *translog.Checkpoint {
	p.t.Helper()
	r, err := translog.ReadSet(logDir(p.config.Dir)).Reader(td)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := r.Checkpoint(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// bundleOf is the file of the entries of a small log.
func (p *plane) bundleOf(c *translog.Checkpoint) string {
	td := strings.TrimSuffix(c.Origin, "/sallyport/log")
	return filepath.Join(logDir(p.config.Dir), td, "tiles", layout.EntriesPathForLogIndex(0, c.Size))
}

// leafOf is the hash of an entry of a bundle.
func leafOf(t *testing.T, bundle []byte, index uint64) tlog.Hash {
	t.Helper()
	var b tesseraapi.EntryBundle
	if err := b.UnmarshalText(bundle); err != nil {
		t.Fatal(err)
	}
	return tlog.RecordHash(b.Entries[index])
}

func asHashes(path [][]byte) (all []tlog.Hash) {
	for _, h := range path {
		all = append(all, tlog.Hash(h))
	}
	return all
}

func get(url string) (status int, text string, err error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
