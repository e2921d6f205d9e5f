package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// forger is the operator of the logs: it has their keys, and changes what they say. It has
// no witness's key.
type forger struct {
	t     *testing.T
	files map[string][]byte
	key   note.Signer // of the log of onprem
}

const forgedLog = "logs/onprem.demo/"

func newForger(t *testing.T, pack, key []byte) *forger {
	t.Helper()
	f := &forger{t: t, files: map[string][]byte{}}
	for archive := tar.NewReader(bytes.NewReader(pack)); ; {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.files[head.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if f.key, err = note.NewSigner(strings.TrimSpace(string(key))); err != nil {
		t.Fatal(err)
	}
	return f
}

// pack is the pack as it is now.
func (f *forger) pack() []byte {
	f.t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	names := slices.Sorted(maps.Keys(f.files))
	slices.SortStableFunc(names, func(a, b string) int { return strings.Compare(order(a), order(b)) })
	for _, name := range names {
		head := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(f.files[name])), Format: tar.FormatUSTAR, ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(head); err != nil {
			f.t.Fatal(err)
		}
		if _, err := w.Write(f.files[name]); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.t.Fatal(err)
	}
	return out.Bytes()
}

// order puts a pack's files where they belong.
func order(name string) string {
	return map[bool]string{true: "0"}[name == "sallyport-pack"] + map[bool]string{true: "1"}[strings.HasPrefix(name, "logs/")] +
		map[bool]string{true: "2"}[strings.HasPrefix(name, "frames/")]
}

// entries are the log's entries. There is one bundle.
func (f *forger) entries() (name string, all [][]byte) {
	f.t.Helper()
	for name := range f.files {
		if strings.HasPrefix(name, forgedLog+"tile/entries/") {
			for rest := f.files[name]; len(rest) > 0; {
				n := int(binary.BigEndian.Uint16(rest))
				all, rest = append(all, rest[2:2+n]), rest[2+n:]
			}
			return name, all
		}
	}
	f.t.Fatal("the pack has no entries of the log")
	return "", nil
}

// put has the log have those entries.
func (f *forger) put(all [][]byte) {
	f.t.Helper()
	was, _ := f.entries()
	delete(f.files, was)
	var bundle []byte
	for _, data := range all {
		bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(data))), data...)
	}
	f.files[fmt.Sprintf("%stile/entries/000.p/%d", forgedLog, len(all))] = bundle
}

// sign signs a checkpoint of those entries with the log's own key.
func (f *forger) sign(all [][]byte) {
	f.t.Helper()
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, err error) {
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	for i, data := range all {
		more, err := tlog.StoredHashes(int64(i), data, read)
		if err != nil {
			f.t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(int64(len(all)), read)
	if err != nil {
		f.t.Fatal(err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", f.key.Name(), len(all), base64.StdEncoding.EncodeToString(root[:]))
	if f.files[forgedLog+"checkpoint"], err = note.Sign(&note.Note{Text: text}, f.key); err != nil {
		f.t.Fatal(err)
	}
}

// dropFrame drops the first frame that has that text.
func (f *forger) dropFrame(name, text string) {
	f.t.Helper()
	data := f.files[name]
	for at := 0; at < len(data); {
		n, used := binary.Uvarint(data[at:])
		end := at + used + int(n)
		if bytes.Contains(data[at:end], []byte(text)) {
			f.files[name] = slices.Concat(data[:at], data[end:])
			return
		}
		at = end
	}
	f.t.Fatalf("no frame has %q", text)
}

// edit changes a byte of what an entry says.
func edit(entry []byte) []byte {
	changed := bytes.Clone(entry)
	sum := sha256.Sum256(entry)
	changed[20+int(sum[0])%(len(entry)-20)] ^= 1
	return changed
}

// TestLogTampered: what the operator of a log, who has its key, does to it is named by
// who verifies all of it with public keys: an entry is edited, deleted, the end is dropped,
// and the log is forked; and records are dropped and changed.
func TestLogTampered(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	client := m.As(t, "orchestrator")
	for range 3 {
		resp, err := client.Get("https://llm.azure.mesh:8000/v1/models")
		if err != nil {
			t.Fatal(err)
		}
		meshtest.ReadAll(t, resp)
		id := resp.Header.Get("sallyport-crossing")
		m.Record(t, id)
		tool(t, m, "log", "prove", id) // waits until it is logged, and witnesses have seen it
	}
	seen, keys := tool(t, m, "log", "checkpoint", "onprem.demo"), tool(t, m, "log", "keys")
	pack := tool(t, m, "log", "export", "--to", "0s") // has more than was seen
	secret, err := os.ReadFile(filepath.Join(m.Dir(), "controlplane/log/onprem.demo/log.key"))
	if err != nil {
		t.Fatal(err)
	}
	unwitnessed := withoutWitnesses(string(keys))
	tests := []struct {
		name  string
		forge func(f *forger)
		alone bool   // the verifier knows no witness
		since bool   // the verifier has kept a checkpoint
		want  string // in what it says
	}{
		{name: "nothing", forge: func(*forger) {}, since: true},
		{name: "edited", forge: func(f *forger) {
			_, all := f.entries()
			all[2] = edit(all[2])
			f.put(all)
		}, want: "changed"},
		{name: "deleted", forge: func(f *forger) {
			_, all := f.entries()
			f.put(slices.Delete(all, 1, 2))
		}, want: "dropped"},
		{name: "end dropped", forge: func(f *forger) {
			_, all := f.entries()
			f.put(all[:2])
		}, want: "dropped"},
		{name: "end dropped and signed", forge: func(f *forger) {
			_, all := f.entries()
			f.put(all[:2])
			f.sign(all[:2])
		}, want: "not enough witnesses"},
		{name: "end dropped and signed, without witnesses", forge: func(f *forger) {
			_, all := f.entries()
			f.put(all[:2])
			f.sign(all[:2])
		}, alone: true, since: true, want: "dropped"},
		{name: "forked, without witnesses", forge: func(f *forger) {
			_, all := f.entries()
			all[2], all[3] = all[3], all[2]
			f.put(all)
			f.sign(all)
		}, alone: true, since: true, want: "fork"},
		{name: "record dropped", forge: func(f *forger) {
			f.dropFrame("frames/00000001", "/v1/models")
		}, want: "dropped"},
		{name: "record changed", forge: func(f *forger) {
			f.files["frames/00000001"] = bytes.Replace(f.files["frames/00000001"], []byte("gpt-oss"), []byte("gpt-osx"), 1)
			f.files["frames/00000001"] = bytes.Replace(f.files["frames/00000001"], []byte("/v1/models"), []byte("/v1/modelz"), 1)
		}, want: "changed"},
	}
	for _, test := range tests {
		f := newForger(t, pack, secret)
		test.forge(f)
		a := newAuditor(t, keys)
		args := []string{"--keys", "keys"}
		if test.alone {
			a.has("keys", []byte(unwitnessed))
		}
		if test.since {
			kept := seen
			if test.alone {
				kept = logSignature(seen)
			}
			a.has("kept", kept)
			args = append(args, "--since", "kept")
		}
		a.has("pack", f.pack())
		said, code := a.run(append(args, "pack")...)
		if (code == 0) != (test.want == "") || !strings.Contains(said, test.want) {
			t.Errorf("%s: exit %d, want it named as %q:\n%s", test.name, code, test.want, said)
		}
	}
}

// withoutWitnesses is a keys file of somebody who knows no witness.
func withoutWitnesses(keys string) string {
	var lines strings.Builder
	for line := range strings.Lines(keys) {
		if !strings.HasPrefix(line, "witness ") && !strings.HasPrefix(line, "group ") && !strings.HasPrefix(line, "quorum ") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// logSignature is a checkpoint with the log's own signature alone, which is the first.
func logSignature(checkpoint []byte) []byte {
	text, signatures, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	first, _, _ := bytes.Cut(signatures, []byte("\n"))
	return slices.Concat(text, []byte("\n\n"), first, []byte("\n"))
}
