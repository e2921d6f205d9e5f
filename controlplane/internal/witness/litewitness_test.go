package witness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/mod/sumdb/tlog"
)

// peer finds a program of torchwood's. A test without it is skipped, or fails
// where everything must be there.
func peer(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path, err := filepath.Abs(filepath.Join("../../../.ci/bin", name))
	if err == nil {
		if _, err = os.Stat(path); err == nil {
			return path
		}
	}
	if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
		t.Fatalf("needs %s: run .ci/peers", name)
	}
	t.Skipf("needs %s: run .ci/peers", name)
	return ""
}

// litewitness starts torchwood's witness for a log, with the key of ours, and
// gives its URL.
func litewitness(t *testing.T, l *testLog, key *cosigner) string {
	t.Helper()
	witness, control := peer(t, "litewitness"), peer(t, "witnessctl")
	dir, err := os.MkdirTemp("", "sp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	db := filepath.Join(dir, "db")
	for _, args := range [][]string{
		{"add-log", "-db", db, "-origin", l.origin},
		{"add-key", "-db", db, "-origin", l.origin, "-key", l.vkey},
	} {
		if said, err := exec.Command(control, args...).CombinedOutput(); err != nil {
			t.Fatalf("witnessctl %v: %v: %s", args, err, said)
		}
	}
	socket := filepath.Join(dir, "agent")
	keyAgent(t, socket, key.private)
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen.Close() // it takes no listener, and tells no port
	id := sha256.Sum256(key.public())
	cmd := exec.Command(witness, "-name", key.name, "-db", db, "-ssh-agent", socket, "-listen", listen.Addr().String(), "-key", hex.EncodeToString(id[:]))
	said := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end := func() { once.Do(func() { cmd.Process.Kill(); cmd.Wait() }) }
	t.Cleanup(end)
	tick := time.NewTicker(20 * time.Millisecond) // nothing says when it listens
	defer tick.Stop()
	for range 500 {
		if conn, err := net.Dial("tcp", listen.Addr().String()); err == nil {
			conn.Close()
			return "http://" + listen.Addr().String()
		}
		<-tick.C
	}
	end()
	t.Fatalf("litewitness does not listen: %s", said)
	return ""
}

// keyAgent is an SSH agent with a key: litewitness takes keys from nowhere else.
func keyAgent(t *testing.T, socket string, key ed25519.PrivateKey) {
	t.Helper()
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, conn)
		}
	}()
}

// step is a request, and what litewitness 0.8.0 says to it where it is not what
// tlog-witness says; 0 where both agree.
type step struct {
	name, body string
	theirs     int
}

func steps(t *testing.T) (*testLog, []step) {
	l := newLog(t, testOrigin)
	l.grow(300)
	fork := l.with(l.leaves[1:200]...)
	stranger := newLog(t, "other.example/log")
	stranger.grow(3)
	impostor := newLog(t, testOrigin)
	impostor.grow(300)
	wrong := l.proof(9, 20)
	wrong[1][3] ^= 8
	all := []step{
		{"unknown size", l.request(4, 9), 0},
		{"of an unknown log", stranger.request(0, 3), http.StatusForbidden}, // 404 since 2024
		{"first", l.request(0, 9), 0},
		{"again", l.request(9, 9), 0},
		{"not where it was", l.request(0, 20), 0},
		{"by another key", impostor.request(9, 20), 0},
		{"changed", strings.Replace(l.request(9, 20), "\n20\n", "\n21\n", 1), 0},
		{"wrong proof", body(9, wrong, l.checkpoint(20)), 0},
		{"no proof", body(9, nil, l.checkpoint(20)), 0},
		{"proof too long", body(9, append(l.proof(9, 20), tlog.Hash{}), l.checkpoint(20)), 0},
		{"smaller", body(9, nil, l.checkpoint(8)), 0},
		{"fork of the size", fork.request(9, 9), 0},
		{"fork beyond", fork.request(9, 100), 0},
		{"extended", body(9, l.proof(9, 20), l.checkpoint(20, "an extension")), 0},
		{"no checkpoint", "old 20\n\n", http.StatusForbidden}, // it is of the log "", which is not known
		{"no size", strings.Replace(l.request(20, 30), "old 20\n", "", 1), 0},
		{"a bad hash", strings.Replace(l.request(20, 30), "old 20\n", "old 20\nAAAA\n", 1), 0},
		{"no empty line", "old 20\n", 0},
	}
	for from := 20; from < 300; {
		to := min(300, from+1+from/3)
		all = append(all, step{fmt.Sprintf("from %d to %d", from, to), l.request(from, to), 0})
		from = to
	}
	return l, all
}

// TestLitewitness asks ours and torchwood's witness the same, with one key: what
// they answer is the same, to the time in cosignatures.
func TestLitewitness(t *testing.T) {
	l, all := steps(t)
	cfg := testConfig(t, l)
	w, stop := serve(t, cfg)
	defer stop()
	ours, theirs := "http://"+w.Addr().String(), litewitness(t, l, w.key)
	for _, s := range all {
		a, b := ask(t, ours, s.body), ask(t, theirs, s.body)
		if s.theirs != 0 {
			if b.code != s.theirs || a.code == s.theirs {
				t.Errorf("%s: %+v, and litewitness %+v, which was known to say %d", s.name, a, b, s.theirs)
			}
			continue
		}
		if a.code != b.code {
			t.Errorf("%s: %+v, and litewitness %+v", s.name, a, b)
		}
		if a.code == http.StatusConflict && a != b {
			t.Errorf("%s: %+v, and litewitness %+v", s.name, a, b)
		}
		if a.code != http.StatusOK || b.code != http.StatusOK {
			continue
		}
		_, checkpoint, _ := strings.Cut(s.body, "\n\n")
		for _, cosignature := range []string{a.text, b.text} {
			if _, err := w.key.recall([]byte(checkpoint + cosignature)); err != nil {
				t.Errorf("%s: cosignature %q: %v", s.name, cosignature, err)
			}
		}
	}
}
