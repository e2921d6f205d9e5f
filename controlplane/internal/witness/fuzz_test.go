package witness

import (
	"encoding/base64"
	"io/fs"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// FuzzRequest holds that what is read of a request is all that is in it: written
// down again it gives the same bytes.
func FuzzRequest(f *testing.F) {
	l := newLog(f, testOrigin)
	l.grow(9)
	f.Add(l.request(0, 4))
	f.Add(l.request(4, 9))
	f.Add(l.request(9, 9))
	f.Add("old 0\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRequest([]byte(text))
		if err != nil {
			return
		}
		if again := body(int(r.old), r.proof, string(r.note)); again != text {
			t.Errorf("%q was read as %q", text, again)
		}
		if len(r.proof) > maxProof || !strings.HasPrefix(string(r.note), r.origin) {
			t.Errorf("%+v of %q", r, text)
		}
	})
}

// FuzzCheckpoint holds the same of a checkpoint's first three lines.
func FuzzCheckpoint(f *testing.F) {
	f.Add(specCheckpoint)
	f.Add(specCheckpoint + "an extension\n")
	f.Add("x\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Fuzz(func(t *testing.T, text string) {
		cp, err := parseCheckpoint(text)
		if err != nil {
			return
		}
		again := cp.origin + "\n" + strconv.FormatInt(cp.size, 10) + "\n" + base64.StdEncoding.EncodeToString(cp.root[:])
		if !strings.HasPrefix(text, again) || cp.size < 0 || cp.size > maxSize || cp.origin == "" {
			t.Errorf("%q was read as %q", text, again)
		}
	})
}

// FuzzAdd submits anything, signed by the log: only what contains the checkpoint
// cosigned last is cosigned, and nothing makes the witness fail.
func FuzzAdd(f *testing.F) {
	l := newLog(f, testOrigin)
	l.grow(40)
	f.Add("old 5\n\n", testOrigin+"\n5\n"+l.root(5).String()+"\n")
	f.Add(strings.TrimSuffix(l.request(5, 40), l.checkpoint(40)), testOrigin+"\n40\n"+l.root(40).String()+"\n")
	f.Add(strings.TrimSuffix(l.request(5, 40), l.checkpoint(40)), testOrigin+"\n4611686018427387904\n"+l.root(40).String()+"\n")
	roots := map[int64]tlog.Hash{}
	for size := range 41 {
		roots[int64(size)] = l.root(size)
	}
	w := open(f, testConfig(f, l))
	w.cosigns(l.request(0, 5))
	w.log = zap.NewNop()
	w.memory.replace = func(string, []byte, fs.FileMode) error { return nil }
	group := w.logs[testOrigin]
	group.evidence.kinds = map[string]int{forked: keptEvidence[forked], unproven: keptEvidence[unproven]}
	five := group.last
	f.Fuzz(func(t *testing.T, head, text string) {
		signed, err := note.Sign(&note.Note{Text: strings.TrimSuffix(text, "\n") + "\n"}, l.signer)
		if err != nil {
			t.Fatal(err)
		}
		group.last = five
		if _, err := w.Witness.add(append([]byte(head), signed...)); err != nil {
			return
		}
		if now := group.last; now.size < 5 || now.root != roots[now.size] {
			t.Errorf("size %d, root %s was cosigned", now.size, now.root)
		}
	})
}
