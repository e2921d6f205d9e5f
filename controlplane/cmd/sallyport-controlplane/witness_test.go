package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

const logOrigin = "aws.example/sallyport/log"

// logKey is a log's key.
func logKey(t *testing.T) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, logOrigin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, vkey
}

func TestReadWitness(t *testing.T) {
	_, vkey := logKey(t)
	_, next := logKey(t)
	dir := write(t, map[string]string{
		"witness.yaml": "name: auditor.example/witness\nurl: https://auditor.example/\ndir: state\nlogs:\n  - {origin: " + logOrigin + ", vkey: " + vkey + ", nextVkey: " + next + "}\n",
		"witness.json": `{"name": "w", "dir": "/d", "key": "k", "listen": ":1", "logs": [{"origin": "o", "vkey": "` + vkey + `"}]}`,
		"wrong.yaml":   "listen: here\nurl: there\nlogs:\n  - {origin: o}\n  - {origin: p, vkey: v}\n  - {vkey: " + vkey + "}\n",
		"twice.yaml":   "name: w\ndir: d\nlogs: [{origin: o, vkey: " + vkey + "}, {origin: o, vkey: " + next + "}]\n",
		"unknown.yaml": "name: w\nwitnesses: 3\n",
	})
	cfg, err := readWitness(filepath.Join(dir, "witness.yaml"))
	if err != nil || cfg.Dir != filepath.Join(dir, "state") || cfg.Key != "" || cfg.URL != "https://auditor.example/" || len(cfg.Logs) != 1 ||
		cfg.Logs[0].Origin != logOrigin || fmt.Sprint(cfg.Logs[0].Keys) != fmt.Sprint([]string{vkey, next}) {
		t.Errorf("readWitness = %+v, %v", cfg, err)
	}
	cfg, err = readWitness(filepath.Join(dir, "witness.json"))
	if err != nil || cfg.Dir != "/d" || cfg.Key != filepath.Join(dir, "k") || cfg.Listen != ":1" {
		t.Errorf("readWitness(JSON) = %+v, %v", cfg, err)
	}
	for file, says := range map[string][]string{
		"wrong.yaml":   {"listen:", "name:", "url:", "dir:", "logs[0]: o: there is no verifier key", "logs[1]: p: verifier key", "logs[2]: origin:"},
		"twice.yaml":   {"logs[1]", "is there twice"},
		"unknown.yaml": {"witnesses"},
		"missing.yaml": {"no such file"},
	} {
		_, err := readWitness(filepath.Join(dir, file))
		for _, want := range says {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", file, err, want)
			}
		}
	}
	if code, _, errs := tool(t, "witness", "--config", filepath.Join(dir, "wrong.yaml")); code != exitRefused || !strings.Contains(errs, "wrong.yaml") {
		t.Errorf("witness = %d, %q", code, errs)
	}
}

// keyLine wants a keys file's line with the key that made a cosignature, if that is
// one.
func keyLine(t *testing.T, config, url, cosignature string) {
	t.Helper()
	code, out, errs := tool(t, "witness", "keys", "--config", config)
	fields := strings.Fields(out)
	if code != exitOK || len(fields) != 4 || fields[0] != "witness" || fields[1] != "auditor.example/witness" || fields[3] != url {
		t.Fatalf("keys = %d, %q, %q", code, out, errs)
	}
	made := strings.Fields(cosignature)
	if len(made) != 3 {
		return
	}
	id, err := base64.StdEncoding.DecodeString(made[2])
	if vkey := strings.Split(fields[2], "+"); err != nil || vkey[0] != made[1] || vkey[1] != fmt.Sprintf("%x", id[:4]) {
		t.Errorf("the key %s has not made %q, %v", fields[2], cosignature, err)
	}
}

// TestWitness runs the command, has a checkpoint cosigned, and runs it again.
func TestWitness(t *testing.T) {
	signer, vkey := logKey(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // for its port
	dir := write(t, map[string]string{"witness.yaml": fmt.Sprintf(
		"name: auditor.example/witness\nurl: http://%s\ndir: state\nlisten: %[1]s\nlogs:\n  - {origin: %s, vkey: %s}\n", l.Addr(), logOrigin, vkey)})
	config := filepath.Join(dir, "witness.yaml")
	if code, out, errs := tool(t, "witness", "keys", "--config", config); code != exitFailed || out != "" || !strings.Contains(errs, "start the witness once") {
		t.Errorf("keys before it ran = %d, %q, %q", code, out, errs)
	}
	checkpoint, err := note.Sign(&note.Note{Text: logOrigin + "\n1\n" + tlog.RecordHash([]byte("entry")).String() + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{http.StatusOK, http.StatusConflict} {
		ctx, cancel := context.WithCancel(t.Context())
		p := start(ctx, "witness", config, "witness ready")
		select {
		case <-p.said:
		case code := <-p.done:
			t.Fatalf("the witness ended with %d: %s", code, p.text())
		}
		got, err := (&http.Client{}).Post("http://"+l.Addr().String()+"/add-checkpoint", "", bytes.NewReader(append([]byte("old 0\n\n"), checkpoint...)))
		if err != nil {
			t.Fatal(err)
		}
		cosignature, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil || got.StatusCode != want {
			t.Errorf("add-checkpoint = %s, %v, want %d", got.Status, err, want)
		}
		keyLine(t, config, "http://"+l.Addr().String(), string(cosignature))
		cancel()
		if code := <-p.done; code != exitOK {
			t.Errorf("the witness ended with %d: %s", code, p.text())
		}
	}
	if err := os.Remove(filepath.Join(dir, "state", "origins")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := tool(t, "witness", "--config", config); code != exitFailed || !strings.Contains(errs, "cannot be told") {
		t.Errorf("with an incomplete directory: %d, %q", code, errs)
	}
}

// TestWitnessedLog has a log cosigned by a witness that both know of each other by what
// their commands print, and verifies that as an auditor does.
func TestWitnessedLog(t *testing.T) {
	home := t.TempDir()
	cfg := translog.Config{Dir: filepath.Join(home, "log"), Origin: logOrigin, Interval: 100 * time.Millisecond}
	l, err := translog.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	vkey := l.Key()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port.Close()
	config := filepath.Join(write(t, map[string]string{"witness.yaml": fmt.Sprintf(
		"name: auditor.example/witness\nurl: http://%s/\ndir: state\nlisten: %[1]s\nlogs:\n  - {origin: %s, vkey: %s}\n", port.Addr(), logOrigin, vkey)}), "witness.yaml")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := start(ctx, "witness", config, "witness ready")
	select {
	case <-p.said:
	case code := <-p.done:
		t.Fatalf("the witness ended with %d: %s", code, p.text())
	}
	code, line, errs := tool(t, "witness", "keys", "--config", config)
	if code != exitOK {
		t.Fatalf("keys = %d, %q", code, errs)
	}
	fields := strings.Fields(line)
	cfg.Witnesses = []translog.Witness{{Key: fields[2], URL: fields[3]}}
	if l, err = translog.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Add(t.Context(), &logv1.Entry{Frame: []byte("one")}, &logv1.Entry{Frame: []byte("two")}); err != nil {
		t.Fatal(err)
	}
	auditor, err := keys.Parse([]byte("log " + vkey + "\n" + line + "quorum " + fields[1] + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := auditor.Checkpoint(cosignedAt(t, l, 2))
	if err != nil || c.Size != 2 || len(c.Cosigned) != 1 || c.Cosigned[0].Witness != "auditor.example/witness" || time.Since(c.Cosigned[0].At).Abs() > time.Minute {
		t.Errorf("the auditor reads %+v, %v", c, err)
	}
	cancel()
	if code := <-p.done; code != exitOK {
		t.Errorf("the witness ended with %d: %s", code, p.text())
	}
}

// cosignedAt waits until a checkpoint of that size is cosigned.
func cosignedAt(t *testing.T, l *translog.Log, size uint64) []byte {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond) // nothing says when
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		c, err := l.Reader.Cosigned()
		if err == nil && c.Size >= size {
			return c.Note
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d entries are not cosigned: %+v, %v", size, c, err)
		}
	}
}
