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
