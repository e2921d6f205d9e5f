package witness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// TestGrows cosigns a log at each size from each size before.
func TestGrows(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(12)
	for from := range 12 {
		for to := from; to <= 12; to++ {
			w := open(t, testConfig(t, l))
			w.cosigns(l.request(0, from))
			w.cosigns(l.request(from, to))
			w.close()
		}
	}
}

// TestRefuses goes through the answers that tlog-witness names, in its order.
func TestRefuses(t *testing.T) {
	t.Parallel()
	l, stranger := newLog(t, testOrigin), newLog(t, "other.example/log")
	l.grow(20)
	stranger.grow(3)
	w := open(t, testConfig(t, l))
	w.refuses(body(0, l.proof(1, 5), l.checkpoint(5)), http.StatusUnprocessableEntity, "nothing is proven of the empty tree")
	w.refuses(body(0, nil, l.sign(l.origin+"\n0\n"+l.root(3).String()+"\n")), http.StatusUnprocessableEntity, "root is not that of the empty tree")
	w.refuses(l.request(3, 5), http.StatusConflict, "0\n")
	w.cosigns(l.request(0, 0))
	w.cosigns(l.request(0, 10))

	impostor := newLog(t, testOrigin)
	impostor.grow(20)
	good := l.checkpoint(20)
	forged := strings.Replace(l.checkpoint(20), l.root(20).String(), l.root(19).String(), 1)
	proof := l.proof(10, 20)
	wrong := append([]tlog.Hash{}, proof...)
	wrong[0][0] ^= 1
	for _, c := range []struct {
		name, body string
		code       int
		says       string
	}{
		{"of an unknown log", stranger.request(0, 3), http.StatusNotFound, "unknown log"},
		{"signed by another key of the name", impostor.request(10, 20), http.StatusForbidden, "signature"},
		{"changed after it was signed", body(10, proof, forged), http.StatusForbidden, "signature"},
		{"changed, beside a signature of another", body(10, proof, strings.Replace(forged, "\n\n", "\n\n— "+stranger.origin+" AAAAAAAA\n", 1)), http.StatusForbidden, "signature"},
		{"old size beyond the checkpoint", body(11, nil, l.checkpoint(10)), http.StatusBadRequest, "beyond"},
		{"old size smaller than cosigned", l.request(9, 20), http.StatusConflict, "10\n"},
		{"old size larger than cosigned", l.request(11, 20), http.StatusConflict, "10\n"},
		{"old size unknown", l.request(0, 20), http.StatusConflict, "10\n"},
		{"no proof", body(10, nil, good), http.StatusUnprocessableEntity, "proof"},
		{"a wrong proof", body(10, wrong, good), http.StatusUnprocessableEntity, "proof"},
		{"a proof too long", body(10, append(proof, proof[0]), good), http.StatusUnprocessableEntity, "proof"},
		{"a proof too short", body(10, proof[1:], good), http.StatusUnprocessableEntity, "proof"},
		{"a proof between equal sizes", body(10, proof, l.checkpoint(10)), http.StatusUnprocessableEntity, "proof"},
		{"a smaller tree", body(10, nil, l.checkpoint(9)), http.StatusBadRequest, "beyond"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &testWitness{Witness: w.Witness, t: t}
			w.refuses(c.body, c.code, c.says)
		})
	}
	w.cosigns(l.request(10, 20))
}

// TestMalformed holds that nothing but the one form of a request is read.
func TestMalformed(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(20)
	w := open(t, testConfig(t, l))
	w.cosigns(l.request(0, 10))
	good := l.request(10, 20)
	hash := l.root(1).String()
	root := l.root(20).String()
	for name, body := range map[string]string{
		"empty":                     "",
		"only a size":               "old 10\n",
		"no empty line":             strings.Replace(good, "\n\n", "\n", 1),
		"another word":              strings.Replace(good, "old ", "new ", 1),
		"two spaces":                strings.Replace(good, "old ", "old  ", 1),
		"a leading zero":            strings.Replace(good, "old 10", "old 010", 1),
		"a sign":                    strings.Replace(good, "old 10", "old +10", 1),
		"a negative size":           strings.Replace(good, "old 10", "old -10", 1),
		"a size beyond all trees":   strings.Replace(good, "old 10", "old 4611686018427387905", 1),
		"a size beyond all numbers": strings.Replace(good, "old 10", "old 92233720368547758080", 1),
		"a carriage return":         strings.Replace(good, "old 10\n", "old 10\r\n", 1),
		"64 hashes":                 body(10, make([]tlog.Hash, 64), l.checkpoint(20)),
		"a short hash":              strings.Replace(good, "old 10\n", "old 10\n"+hash[4:]+"\n", 1),
		"a hash with a line end":    strings.Replace(good, "old 10\n", "old 10\n"+hash[:43]+"\r=\n", 1),
		"a hash in another form":    strings.Replace(good, "old 10\n", "old 10\n"+strings.Repeat("A", 42)+"B=\n", 1),
		"no signatures":             body(10, nil, l.origin+"\n20\n"+root+"\n"),
		"a control character":       strings.Replace(good, "\n— ", "\t\n— ", 1),
		"two lines":                 body(10, nil, l.sign(l.origin+"\n20\n")),
		"an empty extension line":   body(10, nil, l.sign(l.origin+"\n20\n"+root+"\n\nx\n")),
		"a checkpoint of 020":       body(10, nil, l.sign(l.origin+"\n020\n"+root+"\n")),
		"a root in another form":    body(10, nil, l.sign(l.origin+"\n20\n"+root+"=\n")),
	} {
		t.Run(name, func(t *testing.T) {
			w := &testWitness{Witness: w.Witness, t: t}
			w.refuses(body, http.StatusBadRequest, "")
		})
	}
	w.refuses(body(10, make([]tlog.Hash, 63), l.checkpoint(20)), http.StatusUnprocessableEntity, "proof")
	w.refuses(good+strings.Repeat("x", maxBody), http.StatusRequestEntityTooLarge, "")
	for _, other := range []struct{ method, path string }{{http.MethodGet, "/add-checkpoint"}, {http.MethodPut, "/add-checkpoint"}} {
		if answer := w.call(other.method, other.path, good); answer.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s = %d", other.method, other.path, answer.Code)
		}
	}
	w.cosigns(good)
}

// TestSeveralKeys holds that any key of a log will do, and that what others have
// signed goes no further.
func TestSeveralKeys(t *testing.T) {
	t.Parallel()
	l, next, other := newLog(t, testOrigin), newLog(t, testOrigin), newLog(t, "other.example/witness")
	l.grow(5)
	cfg := testConfig(t, l)
	cfg.Logs[0].Keys = append(cfg.Logs[0].Keys, next.vkey)
	w := open(t, cfg)
	text, _, _ := strings.Cut(l.checkpoint(5, "an extension"), "\n\n")
	signed, err := note.Sign(&note.Note{Text: text + "\n"}, other.signer, next.signer, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	w.cosigns(body(0, nil, string(signed)))
	kept := w.call(http.MethodGet, "/"+originHash(testOrigin)+"/checkpoint", "").Body.String()
	if strings.Contains(kept, other.origin) || strings.Count(kept, "— ") != 3 || !strings.Contains(kept, "an extension\n") {
		t.Errorf("the checkpoint kept is %q", kept)
	}
	next.grow(7)
	w.cosigns(next.request(5, 7))
}

// TestMonitors holds what a monitor gets: the log's signature and the cosignature
// that was given.
func TestMonitors(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(8)
	w := open(t, testConfig(t, l))
	path := "/" + originHash(testOrigin) + "/checkpoint"
	for _, p := range []string{path, "/" + originHash("other.example/log") + "/checkpoint", "/checkpoint", "/"} {
		if answer := w.call(http.MethodGet, p, ""); answer.Code != http.StatusNotFound {
			t.Errorf("GET %s = %d %q before anything was cosigned", p, answer.Code, answer.Body)
		}
	}
	request := l.request(0, 8)
	line := w.add(request).Body.String()
	for range 2 {
		answer := w.call(http.MethodGet, path, "")
		if want := l.checkpoint(8) + line; answer.Code != http.StatusOK || answer.Body.String() != want {
			t.Errorf("GET = %d %q, want %q", answer.Code, answer.Body, want)
		}
		w = w.reopen()
	}
}

// What a witness says of a log's operator.
const (
	isFork     = "log forked: it signed two checkpoints of one size"
	isUnproven = "checkpoint is not shown to contain the one cosigned"
	isSmaller  = "checkpoint has fewer entries than the one cosigned"
)

// TestTamper is what a log's operator may do to it: each is refused and named.
func TestTamper(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(10)
	edited := append([]string{}, l.leaves...)
	edited[3] = "another entry 3"
	deleted := append(append([]string{}, l.leaves[:3]...), l.leaves[4:]...)
	for _, c := range []struct {
		name   string
		tamper func() string
		code   int
		named  string
		keeps  string // kind of evidence
	}{
		{"edits an entry", func() string { return l.with(edited...).request(10, 10) }, http.StatusUnprocessableEntity, isFork, forked},
		{"edits an entry and goes on", func() string {
			other := l.with(edited...)
			other.grow(12)
			return other.request(10, 12)
		}, http.StatusUnprocessableEntity, isUnproven, unproven},
		{"deletes an entry and goes on", func() string {
			other := l.with(deleted...)
			other.grow(12)
			return other.request(10, 12)
		}, http.StatusUnprocessableEntity, isUnproven, unproven},
		{"drops the tail", func() string { return l.request(0, 7) }, http.StatusConflict, isSmaller, smaller},
		{"drops the tail, and knows where to begin", func() string { return body(10, nil, l.checkpoint(7)) }, http.StatusBadRequest, isSmaller, smaller},
		{"deletes an entry", func() string { return l.with(deleted...).request(9, 9) }, http.StatusConflict, isSmaller, smaller},
		{"drops everything", func() string { return l.request(0, 0) }, http.StatusConflict, isSmaller, smaller},
		{"drops the tail and grows again", func() string { return l.with(append(l.leaves[:7:7], "x", "y", "z")...).request(7, 10) }, http.StatusConflict, isFork, forked},
		{"forks, for a client that does not know the witness", func() string { return l.with(edited...).request(0, 10) }, http.StatusConflict, isFork, forked},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := open(t, testConfig(t, l))
			w.cosigns(l.request(0, 10))
			request := c.tamper()
			w.refuses(request, c.code, "")
			fields := w.logged(c.named, 1)
			cp, _, _ := strings.Cut(request[strings.Index(request, "\n\n")+2:], "\n\n")
			root := strings.Split(cp, "\n")[2]
			if fields["cosigned_root"] != l.root(10).String() || fields["submitted_root"] != root || fields["origin"] != testOrigin {
				t.Errorf("it was named with %v", fields)
			}
			checkEvidence(t, fields["evidence"].(string), c.keeps, l, request)
			w.refuses(request, c.code, "") // again: it is known
			w = w.reopen()
			w.refuses(request, c.code, "")
			w.logged(c.named, 0)
			w.cosigns(l.request(10, 10)) // the honest history goes on
		})
	}
}

func readFinding(t *testing.T, path string) (f finding) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// checkEvidence reads a file of evidence as an auditor would, with the log's key
// alone.
func checkEvidence(t *testing.T, path, kind string, l *testLog, request string) {
	t.Helper()
	f := readFinding(t, path)
	if f.Kind != kind || f.Origin != l.origin || f.Submitted != request || time.Since(f.Time) > time.Minute {
		t.Errorf("the evidence is %+v", f)
	}
	verifier, err := note.NewVerifier(l.vkey)
	if err != nil {
		t.Fatal(err)
	}
	_, submitted, _ := strings.Cut(f.Submitted, "\n\n")
	roots := map[string]bool{}
	for _, signed := range []string{f.Cosigned, submitted} {
		n, err := note.Open([]byte(signed), note.VerifierList(verifier))
		if err != nil {
			t.Fatalf("%v: %q", err, signed)
		}
		roots[strings.Split(n.Text, "\n")[2]] = true
	}
	if len(roots) != 2 {
		t.Errorf("the evidence has roots %v", roots)
	}
}

// TestEvidenceIsBounded holds that whoever replays checkpoints fills no disk, and
// leaves room for a fork.
func TestEvidenceIsBounded(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(10)
	w := open(t, testConfig(t, l))
	w.cosigns(l.request(0, 10))
	for size := 11; size < 11+keptEvidence[unproven]+5; size++ {
		l.grow(size)
		w.refuses(body(10, nil, l.checkpoint(size)), http.StatusUnprocessableEntity, "")
	}
	dir := filepath.Join(w.cfg.Dir, evidenceName, originHash(testOrigin))
	count := func(want int) {
		t.Helper()
		if files, err := os.ReadDir(dir); err != nil || len(files) != want {
			t.Errorf("%d files of evidence, %v, want %d", len(files), err, want)
		}
	}
	count(keptEvidence[unproven])
	w = w.reopen()
	w.refuses(body(10, nil, l.checkpoint(len(l.leaves))), http.StatusUnprocessableEntity, "")
	if fields := w.logged(isUnproven, 1); fields["error"] != errEnough.Error() {
		t.Errorf("beyond the bound, %v", fields)
	}
	other := l.with(l.leaves[1:11]...)
	w.refuses(other.request(10, 10), http.StatusUnprocessableEntity, "")
	count(keptEvidence[unproven] + 1)
}

// TestAtOnce holds that of many requests at once each sees what the one before
// has left: no size is ever cosigned after a larger one.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(64)
	w := open(t, testConfig(t, l))
	w.cosigns(l.request(0, 1))
	requests := make([]string, 0, 63)
	for to := 2; to <= 64; to++ {
		requests = append(requests, l.request(1, to))
	}
	var won sync.Map
	var group sync.WaitGroup
	for i, request := range requests {
		group.Go(func() {
			if answer := w.add(request); answer.Code == http.StatusOK {
				won.Store(i+2, true)
			} else if answer.Code != http.StatusConflict {
				t.Errorf("add-checkpoint = %d %q", answer.Code, answer.Body)
			}
		})
	}
	group.Wait()
	winners := 0
	won.Range(func(size, _ any) bool {
		winners++
		w.refuses(l.request(0, 64), http.StatusConflict, fmt.Sprintf("%d\n", size))
		return true
	})
	if winners != 1 {
		t.Errorf("%d requests from size 1 were cosigned, want 1", winners)
	}
}

// TestTime holds that the time of cosignatures never goes back, over restarts
// too, and that the same second gives the same cosignature without the disk.
func TestTime(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(5)
	w := open(t, testConfig(t, l))
	clock := time.Unix(1_800_000_000, 0)
	w.now = func() time.Time { return clock }
	if at := w.cosigns(l.request(0, 3)); !at.Equal(clock) {
		t.Errorf("cosigned at %v, want %v", at, clock)
	}
	replace := w.memory.replace
	w.memory.replace = nil // would panic
	if at := w.cosigns(l.request(3, 3)); !at.Equal(clock) {
		t.Errorf("cosigned again at %v, want %v", at, clock)
	}
	w.memory.replace = replace
	first := clock
	w = w.reopen()
	w.now = func() time.Time { return clock }
	clock = clock.Add(-time.Hour)
	if at := w.cosigns(l.request(3, 4)); !at.Equal(first) {
		t.Errorf("cosigned at %v, want %v", at, first)
	}
	w.logged("the clock is behind the last cosignature, whose time is used", 1)
	clock = first.Add(time.Second)
	if at := w.cosigns(l.request(4, 4)); !at.Equal(clock) {
		t.Errorf("cosigned at %v, want %v", at, clock)
	}
	clock = time.Unix(-5, 0)
	other := newLog(t, "gcp.example/sallyport/log")
	other.grow(1)
	w2 := open(t, testConfig(t, other))
	w2.now = w.now
	if at := w2.cosigns(other.request(0, 1)); at.Unix() < 1 {
		t.Errorf("cosigned at %v: a cosignature has a time", at)
	}
}
