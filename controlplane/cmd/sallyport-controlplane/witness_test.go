package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
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
		"witness.yaml": "name: auditor.example/witness\ndir: state\nlogs:\n  - {origin: " + logOrigin + ", vkey: " + vkey + ", nextVkey: " + next + "}\n",
		"witness.json": `{"name": "w", "dir": "/d", "key": "k", "listen": ":1", "logs": [{"origin": "o", "vkey": "` + vkey + `"}]}`,
		"wrong.yaml":   "listen: here\nlogs:\n  - {origin: o}\n  - {origin: p, vkey: v}\n  - {vkey: " + vkey + "}\n",
		"twice.yaml":   "name: w\ndir: d\nlogs: [{origin: o, vkey: " + vkey + "}, {origin: o, vkey: " + next + "}]\n",
		"unknown.yaml": "name: w\nwitnesses: 3\n",
	})
	cfg, err := readWitness(filepath.Join(dir, "witness.yaml"))
	if err != nil || cfg.Dir != filepath.Join(dir, "state") || cfg.Key != "" || len(cfg.Logs) != 1 ||
		cfg.Logs[0].Origin != logOrigin || fmt.Sprint(cfg.Logs[0].Keys) != fmt.Sprint([]string{vkey, next}) {
		t.Errorf("readWitness = %+v, %v", cfg, err)
	}
	cfg, err = readWitness(filepath.Join(dir, "witness.json"))
	if err != nil || cfg.Dir != "/d" || cfg.Key != filepath.Join(dir, "k") || cfg.Listen != ":1" {
		t.Errorf("readWitness(JSON) = %+v, %v", cfg, err)
	}
	for file, says := range map[string][]string{
		"wrong.yaml":   {"listen:", "name:", "dir:", "logs[0]: o: there is no verifier key", "logs[1]: p: verifier key", "logs[2]: origin:"},
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

// TestWitness runs the command, has a checkpoint cosigned, and runs it again.
func TestWitness(t *testing.T) {
	signer, vkey := logKey(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // for its port
	dir := write(t, map[string]string{"witness.yaml": fmt.Sprintf(
		"name: auditor.example/witness\ndir: state\nlisten: %s\nlogs:\n  - {origin: %s, vkey: %s}\n", l.Addr(), logOrigin, vkey)})
	checkpoint, err := note.Sign(&note.Note{Text: logOrigin + "\n1\n" + tlog.RecordHash([]byte("entry")).String() + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{http.StatusOK, http.StatusConflict} {
		ctx, cancel := context.WithCancel(t.Context())
		p := start(ctx, "witness", filepath.Join(dir, "witness.yaml"), "witness ready")
		select {
		case <-p.said:
		case code := <-p.done:
			t.Fatalf("the witness ended with %d: %s", code, p.text())
		}
		got, err := (&http.Client{}).Post("http://"+l.Addr().String()+"/add-checkpoint", "", bytes.NewReader(append([]byte("old 0\n\n"), checkpoint...)))
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != want {
			t.Errorf("add-checkpoint = %s, want %d", got.Status, want)
		}
		cancel()
		if code := <-p.done; code != exitOK {
			t.Errorf("the witness ended with %d: %s", code, p.text())
		}
	}
	if err := os.Remove(filepath.Join(dir, "state", "origins")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := tool(t, "witness", "--config", filepath.Join(dir, "witness.yaml")); code != exitFailed || !strings.Contains(errs, "cannot be told") {
		t.Errorf("with an incomplete directory: %d, %q", code, errs)
	}
}
