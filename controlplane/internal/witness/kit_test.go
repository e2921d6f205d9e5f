package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	testOrigin = "aws.example/sallyport/log"
	testName   = "auditor.example/witness"
)

// testLog is a log as it is kept by its operator, who may do anything to it.
type testLog struct {
	t      testing.TB
	origin string
	signer note.Signer
	vkey   string
	hashes []tlog.Hash // of the tree, as tlog stores them
	leaves []string
}

func newLog(t testing.TB, origin string) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{t: t, origin: origin, signer: signer, vkey: vkey}
}

// ReadHashes implements tlog.HashReader.
func (l *testLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		hashes[i] = l.hashes[at]
	}
	return hashes, nil
}

func (l *testLog) add(leaves ...string) {
	l.t.Helper()
	for _, leaf := range leaves {
		stored, err := tlog.StoredHashes(int64(len(l.leaves)), []byte(leaf), l)
		if err != nil {
			l.t.Fatal(err)
		}
		l.hashes, l.leaves = append(l.hashes, stored...), append(l.leaves, leaf)
	}
}

// grow adds leaves up to that many.
func (l *testLog) grow(size int) {
	for len(l.leaves) < size {
		l.add(fmt.Sprintf("entry %d", len(l.leaves)))
	}
}

// with is a log of the same operator with other leaves.
func (l *testLog) with(leaves ...string) *testLog {
	other := &testLog{t: l.t, origin: l.origin, signer: l.signer, vkey: l.vkey}
	other.add(leaves...)
	return other
}

func (l *testLog) root(size int) tlog.Hash {
	l.t.Helper()
	if size == 0 {
		return emptyRoot
	}
	root, err := tlog.TreeHash(int64(size), l)
	if err != nil {
		l.t.Fatal(err)
	}
	return root
}

// checkpoint is a signed one, with extension lines.
func (l *testLog) checkpoint(size int, extension ...string) string {
	l.t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n", l.origin, size, l.root(size))
	for _, line := range extension {
		text += line + "\n"
	}
	return l.sign(text)
}

func (l *testLog) sign(text string) string {
	l.t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(signed)
}

func (l *testLog) proof(from, to int) []tlog.Hash {
	l.t.Helper()
	if from == 0 {
		return nil
	}
	proof, err := tlog.ProveTree(int64(to), int64(from), l)
	if err != nil {
		l.t.Fatal(err)
	}
	return proof
}

// request is the body of an honest add-checkpoint.
func (l *testLog) request(from, to int) string {
	l.t.Helper()
	return body(from, l.proof(from, to), l.checkpoint(to))
}

func body(from int, proof []tlog.Hash, checkpoint string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", from)
	for _, hash := range proof {
		fmt.Fprintf(&b, "%s\n", base64.StdEncoding.EncodeToString(hash[:]))
	}
	return b.String() + "\n" + checkpoint
}

// testWitness is a witness whose interface is called without a network.
type testWitness struct {
	*Witness

	t    testing.TB
	cfg  Config
	said *observer.ObservedLogs
}

func testConfig(t testing.TB, logs ...*testLog) Config {
	cfg := Config{Listen: "127.0.0.1:0", Name: testName, Dir: filepath.Join(t.TempDir(), "witness")}
	for _, l := range logs {
		cfg.Logs = append(cfg.Logs, Log{Origin: l.origin, Keys: []string{l.vkey}})
	}
	return cfg
}

// open starts a witness that ends with the test.
func open(t testing.TB, cfg Config) *testWitness {
	t.Helper()
	core, said := observer.New(zap.DebugLevel)
	cfg.Log = zap.New(core)
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return &testWitness{Witness: w, t: t, cfg: cfg, said: said}
}

// reopen ends it as a crash would, and starts it anew.
func (w *testWitness) reopen() *testWitness {
	w.t.Helper()
	w.close()
	return open(w.t, w.cfg)
}

func (w *testWitness) call(method, path, body string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	w.handler().ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(body)))
	return answer
}

// add asks for a cosignature.
func (w *testWitness) add(body string) *httptest.ResponseRecorder {
	return w.call(http.MethodPost, "/add-checkpoint", body)
}

// refuses wants an answer of that status.
func (w *testWitness) refuses(body string, code int, says string) {
	w.t.Helper()
	answer := w.add(body)
	if answer.Code != code || !strings.Contains(answer.Body.String(), says) {
		w.t.Errorf("add-checkpoint = %d %q, want %d with %q in it, of\n%s", answer.Code, answer.Body, code, says, body)
	}
}

// cosigns wants a good cosignature of the request's checkpoint, and gives its
// time.
func (w *testWitness) cosigns(request string) time.Time {
	w.t.Helper()
	answer := w.add(request)
	if answer.Code != http.StatusOK {
		w.t.Fatalf("add-checkpoint = %d %q, of\n%s", answer.Code, answer.Body, request)
	}
	_, checkpoint, _ := strings.Cut(request, "\n\n")
	h, err := w.key.recall(append([]byte(checkpoint), answer.Body.Bytes()...))
	if err != nil {
		w.t.Fatalf("cosignature %q: %v", answer.Body, err)
	}
	if lines := bytes.Count(answer.Body.Bytes(), []byte("\n")); lines != 1 {
		w.t.Errorf("the answer has %d lines", lines)
	}
	return time.Unix(int64(h.seconds), 0)
}

// logged wants so many entries with that message, and gives the last one's fields.
func (w *testWitness) logged(message string, times int) map[string]any {
	w.t.Helper()
	entries := w.said.FilterMessage(message).All()
	if len(entries) != times {
		w.t.Fatalf("%q was logged %d times, want %d: %v", message, len(entries), times, w.said.All())
	}
	if times == 0 {
		return nil
	}
	return entries[times-1].ContextMap()
}

// serve runs a witness until stop, as its command does.
func serve(t *testing.T, cfg Config) (w *Witness, stop func()) {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return w, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// answer is what a witness says to a request.
type answer struct {
	code       int
	kind, text string
}

func ask(t *testing.T, url, body string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/add-checkpoint", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{}
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{got.StatusCode, got.Header.Get("Content-Type"), string(text)}
}
