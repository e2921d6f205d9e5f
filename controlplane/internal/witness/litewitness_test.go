package witness

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/mod/sumdb/tlog"
)

// program finds a program of others. A test without it is skipped, or fails where
// everything must be there.
func program(t *testing.T, name, needs string) string {
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
		t.Fatalf("needs %s: %s", name, needs)
	}
	t.Skipf("needs %s: %s", name, needs)
	return ""
}

// litewitness starts torchwood's witness for a log and gives its URL.
func litewitness(t *testing.T, l *testLog, key *cosigner) string {
	t.Helper()
	lite, python := program(t, "litewitness", "run .ci/peers"), program(t, "python3", "install it: it writes to SQLite")
	dir, err := os.MkdirTemp("", "sp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, db := filepath.Join(dir, "agent"), filepath.Join(dir, "db")
	keyAgent(t, socket, key.private)
	// It takes no listener, and tells no port. No other test listens on this address.
	listen, err := net.Listen("tcp", "127.0.0.84:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listen.Addr().String()
	listen.Close()
	id := sha256.Sum256(key.public())
	cmd := exec.Command(lite, "-name", key.name, "-db", db, "-ssh-agent", socket, "-listen", addr, "-key", hex.EncodeToString(id[:]))
	said := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	end := func() { cmd.Process.Kill(); <-ended }
	t.Cleanup(end)
	if !listens(t, addr, ended) {
		end()
		t.Fatalf("litewitness does not listen: %s", said)
	}
	// Its tables are there now. This is what witnessctl writes to them.
	const script = `import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("INSERT INTO log VALUES (?, 0, '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=')", sys.argv[2:3])
db.execute("INSERT INTO key VALUES (?, ?)", sys.argv[2:4])
db.commit()`
	if said, err := exec.Command(python, "-c", script, db, l.origin, l.vkey).CombinedOutput(); err != nil {
		t.Fatalf("tell litewitness of the log: %v: %s", err, said)
	}
	return "http://" + addr
}

// listens waits until an address is listened on, and says whether that came to be.
func listens(t *testing.T, addr string, ended <-chan struct{}) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond) // nothing says when
	defer tick.Stop()
	for {
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr); err == nil {
			conn.Close()
			return true
		}
		select {
		case <-tick.C:
		case <-ended:
			return false
		case <-ctx.Done():
			return false
		}
	}
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

// pair is our witness and torchwood's, of one log and with one key.
type pair struct {
	t            *testing.T
	key          *cosigner
	ours, theirs string // URLs
}

func startPair(t *testing.T, l *testLog) *pair {
	t.Helper()
	w, stop := serve(t, testConfig(t, l))
	t.Cleanup(stop)
	return &pair{t, w.key, "http://" + w.Addr().String(), litewitness(t, l, w.key)}
}

// ask puts the same request to both, and wants the same status of both, the same
// text of a conflict, and good cosignatures. Where litewitness 0.8.0 does not do as
// tlog-witness says, known is what it does; 0 elsewhere. It gives our status.
func (p *pair) ask(name, body string, known int) int {
	p.t.Helper()
	a, b := ask(p.t, p.ours, body), ask(p.t, p.theirs, body)
	if known != 0 {
		if b.code != known || a.code == known {
			p.t.Errorf("%s: %+v, and litewitness %+v, which was known to say %d", name, a, b, known)
		}
		return a.code
	}
	if a.code != b.code || a.code == http.StatusConflict && a != b {
		p.t.Errorf("%s: %+v, and litewitness %+v, to\n%s", name, a, b, body)
		return a.code
	}
	if a.code != http.StatusOK {
		return a.code
	}
	_, checkpoint, _ := strings.Cut(body, "\n\n")
	for _, cosignature := range []string{a.text, b.text} {
		if _, err := p.key.recall([]byte(checkpoint + cosignature)); err != nil {
			p.t.Errorf("%s: cosignature %q: %v", name, cosignature, err)
		}
	}
	return a.code
}

// TestLitewitness asks ours and torchwood's witness the same: one request of each
// kind, in this order.
func TestLitewitness(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(300)
	p := startPair(t, l)
	fork := l.with(l.leaves[1:200]...)
	stranger, impostor := newLog(t, "other.example/log"), newLog(t, testOrigin)
	stranger.grow(3)
	impostor.grow(300)
	wrong := l.proof(9, 20)
	wrong[1][3] ^= 8
	for _, s := range []struct {
		name, body string
		want       int
		known      int
	}{
		{"unknown size", l.request(4, 9), 409, 0},
		{"of an unknown log", stranger.request(0, 3), 404, 403},
		{"empty", l.request(0, 0), 200, 0},
		{"first", l.request(0, 9), 200, 0},
		{"again", l.request(9, 9), 200, 0},
		{"not where it was", l.request(0, 20), 409, 0},
		{"by another key", impostor.request(9, 20), 403, 0},
		{"changed", strings.Replace(l.request(9, 20), "\n20\n", "\n21\n", 1), 403, 0},
		{"wrong proof", body(9, wrong, l.checkpoint(20)), 422, 0},
		{"no proof", body(9, nil, l.checkpoint(20)), 422, 0},
		{"proof too long", body(9, append(l.proof(9, 20), tlog.Hash{}), l.checkpoint(20)), 422, 0},
		{"smaller", body(9, nil, l.checkpoint(8)), 400, 0},
		{"smaller, of its size", l.request(8, 8), 409, 0},
		{"fork of the size", fork.request(9, 9), 422, 0},
		{"fork beyond", fork.request(9, 100), 422, 0},
		{"extended", body(9, l.proof(9, 20), l.checkpoint(20, "an extension")), 200, 0},
		{"no checkpoint", "old 20\n\n", 404, 403}, // it is of the log "", which is not known
		{"no note", "old 20\n\n" + testOrigin + "\n20\n", 400, 500},
		{"no size", strings.Replace(l.request(20, 30), "old 20\n", "", 1), 400, 0},
		{"a bad hash", strings.Replace(l.request(20, 30), "old 20\n", "old 20\nAAAA\n", 1), 400, 0},
		{"a negative size", strings.Replace(l.request(20, 30), "old 20", "old -20", 1), 400, 0},
		{"a leading zero", strings.Replace(l.request(20, 30), "old 20", "old 020", 1), 400, 200},
		{"no empty line", "old 20\n", 400, 0},
	} {
		if got := p.ask(s.name, s.body, s.known); got != s.want {
			t.Errorf("%s: %d, want %d", s.name, got, s.want)
		}
	}
}

// TestLitewitnessEmpty holds what is said of the empty tree.
func TestLitewitnessEmpty(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(5)
	p := startPair(t, l)
	for _, s := range []struct {
		name, body string
		want       int
		known      int
	}{
		{"begins beyond it", l.request(5, 5), 409, 0},
		{"is of it", l.request(0, 0), 200, 0},
		{"proves from it", body(0, l.proof(1, 5), l.checkpoint(5)), 422, 200},
	} {
		if got := p.ask(s.name, s.body, s.known); got != s.want {
			t.Errorf("%s: %d, want %d", s.name, got, s.want)
		}
	}
}

// TestLitewitnessAtRandom asks both what a log, its fork and strangers may ask, in
// any order.
func TestLitewitnessAtRandom(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(600)
	p := startPair(t, l)
	fork, impostor := l.with(append([]string{"a fork"}, l.leaves[1:]...)...), newLog(t, testOrigin)
	impostor.grow(600)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	seen, size := map[int]int{}, 1
	p.ask("first", l.request(0, 1), 0)
	for i := range 400 {
		from, to := max(1, size+random.IntN(9)-4), max(1, size+random.IntN(12)-5)
		if random.IntN(3) > 0 {
			from = size
		}
		proof := []tlog.Hash{}
		if from <= to {
			proof = l.proof(from, to)
		}
		if len(proof) > 0 && random.IntN(4) == 0 {
			proof[random.IntN(len(proof))][random.IntN(tlog.HashSize)] ^= 1 << random.IntN(8)
		}
		of := l
		switch random.IntN(10) {
		case 0:
			of = impostor
		case 1, 2:
			of = fork
		}
		name := fmt.Sprintf("seed %d, request %d", seed, i)
		code := p.ask(name, body(from, proof, of.checkpoint(to)), 0)
		seen[code]++
		if code != http.StatusOK {
			continue
		}
		if of != l || from != size || to < size {
			t.Errorf("%s: from %d to %d was cosigned, after %d", name, from, to, size)
		}
		size = to
	}
	for _, code := range []int{200, 400, 403, 409, 422} {
		if seen[code] < 4 {
			t.Errorf("seed %d: %v: hardly any %d", seed, seen, code)
		}
	}
}

// TestCosignedByBoth has a log of Tessera's that publishes only what our witness
// and torchwood's have both cosigned: both cosignatures verify by Tessera's own
// verifier, and the log's signature by note's.
func TestCosignedByBoth(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	cfg := testConfig(t, l)
	w, stop := serve(t, cfg)
	defer stop()
	other, err := generateCosigner("torchwood.example/witness")
	if err != nil {
		t.Fatal(err)
	}
	policy := policyOf(line(t, cfg, w), fmt.Sprintf("witness %s %s %s", other.name, other.vkey(), litewitness(t, l, other)))
	dir, size := t.TempDir(), 0
	for _, to := range []int{3, 20} {
		log := startTessera(t, dir, l.signer, policy, size, false)
		checkpoint := log.add(entries("entry", size, to)...)
		size = to
		for _, one := range log.witnesses.Components {
			if !one.Satisfied(checkpoint) {
				t.Errorf("size %d: %v has not cosigned\n%s", to, one.Endpoints(), checkpoint)
			}
		}
		keys, err := Log{Origin: l.origin, Keys: []string{l.vkey}}.verifiers()
		if err != nil {
			t.Fatal(err)
		}
		if _, cp, err := (&witnessed{keys: keys}).open(checkpoint); err != nil || cp.size != int64(to) || strings.Count(string(checkpoint), "\n— ") != 3 {
			t.Errorf("size %d: %+v, %v, of\n%s", to, cp, err, checkpoint)
		}
		log.stop()
	}
}
