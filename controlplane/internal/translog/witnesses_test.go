package translog

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cosignature "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/witness"
)

// startWitness runs a witness of a log until the test ends, or stop is called.
func startWitness(t *testing.T, name, vkey, dir, listen string) (w Witness, stop func()) {
	t.Helper()
	one, err := witness.New(witness.Config{Name: name, Dir: dir, Listen: listen, Logs: []witness.Log{{Origin: origin, Keys: []string{vkey}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- one.Run(ctx) }()
	ended := false
	stop = func() {
		if !ended {
			ended = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return Witness{Key: one.VKey(), URL: "http://" + one.Addr().String() + "/"}, stop
}

// openWitnessed opens a log that has witnesses.
func openWitnessed(t *testing.T, dir string, witnesses ...Witness) *Log {
	t.Helper()
	l, err := Open(t.Context(), Config{Dir: dir, Origin: origin, Interval: 100 * time.Millisecond, Witnesses: witnesses})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// awaitCosigned waits until a checkpoint of that size has been cosigned by all of those.
func awaitCosigned(t *testing.T, l *Log, size uint64, by ...Witness) *Checkpoint {
	t.Helper()
	known := []note.Verifier{l.verifier}
	for _, w := range by {
		v, err := cosignature.NewVerifierForCosignatureV1(w.Key)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, v)
	}
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		c, err := l.Reader.Cosigned()
		if err == nil && c.Size >= size {
			if n, err := note.Open(c.Note, note.VerifierList(known...)); err == nil && len(n.Sigs) == len(known) {
				return c
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no checkpoint of %d entries is cosigned by %d: %v %v %v", size, len(by), c, err, l.Cosigned())
		}
	}
}

// TestWitnessed: checkpoints are cosigned by all witnesses that there are, one that was
// away comes after, and nothing that is logged waits for it.
func TestWitnessed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := openLog(t, dir).Reader.Cosigned(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cosigned without witnesses: %v", err)
	}
	l := openLog(t, t.TempDir())
	dir, vkey := l.dir, l.Key()
	l.Close()
	one, _ := startWitness(t, "one.test/w", vkey, t.TempDir(), "127.0.0.1:0")
	home := t.TempDir()
	two, stop := startWitness(t, "two.test/w", vkey, home, "127.0.0.1:0")
	l = openWitnessed(t, dir, one, two)
	add(t, l, frames(0, 10)...)
	awaitCosigned(t, l, 10, one, two)
	stop()
	began := time.Now()
	add(t, l, frames(10, 300)...)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("entries took %s beside a witness that is away", took)
	}
	awaitCosigned(t, l, 300, one)
	if all := l.Cosigned(); all[0].Failed != nil || all[0].Size != 300 || all[1].Failed == nil || all[1].Size != 10 {
		t.Errorf("cosigned: %v", all)
	}
	startWitness(t, "two.test/w", vkey, home, strings.TrimSuffix(strings.TrimPrefix(two.URL, "http://"), "/"))
	awaitCosigned(t, l, 300, one, two)
	l.Close()
	l = openWitnessed(t, dir, one, two) // it does not know where they are
	add(t, l, frames(300, 310)...)
	awaitCosigned(t, l, 310, one, two)
}

// TestWitnessKnowsMore: a log whose whole directory was put back to what it was signs on,
// and its witness tells of it.
func TestWitnessKnowsMore(t *testing.T) {
	t.Parallel()
	l := openLog(t, t.TempDir())
	dir, vkey := l.dir, l.Key()
	add(t, l, frames(0, 10)...)
	awaitSize(t, l.Reader, 10)
	l.Close()
	old := t.TempDir()
	copyTree(t, dir, old)
	w, _ := startWitness(t, "one.test/w", vkey, t.TempDir(), "127.0.0.1:0")
	l = openWitnessed(t, dir, w)
	add(t, l, frames(10, 20)...)
	awaitCosigned(t, l, 20, w)
	l.Close()
	for what, entries := range map[string]int{"fewer": 12, "others": 40} {
		put := t.TempDir()
		copyTree(t, old, put)
		l := openWitnessed(t, put, w)
		add(t, l, frames(100, 90+entries)...)
		awaitSize(t, l.Reader, uint64(entries))
		told := func() bool {
			err := l.Cosigned()[0].Failed
			return entries < 20 && errors.Is(err, errAhead) || entries > 20 && err != nil && strings.Contains(err.Error(), "422")
		}
		for deadline := time.Now().Add(20 * time.Second); !told(); <-time.After(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the witness says %v", what, l.Cosigned())
			}
		}
		l.Close()
	}
}

// TestHostileWitness: what a witness answers that is no cosignature of its own is not kept.
func TestHostileWitness(t *testing.T) {
	t.Parallel()
	l := openLog(t, t.TempDir())
	dir, vkey := l.dir, l.Key()
	l.Close()
	good, _ := startWitness(t, "one.test/w", vkey, t.TempDir(), "127.0.0.1:0")
	answers := map[string]http.HandlerFunc{
		"nothing":          func(http.ResponseWriter, *http.Request) {},
		"no signature":     func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello\n")) },
		"another's":        func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("— one.test/w AAAAAAAAAAAAAAAAAAAA\n")) },
		"a size for ever":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "3", http.StatusConflict) },
		"a size too large": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "99999999999", http.StatusConflict) },
		"no size":          func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "many", http.StatusConflict) },
		"an error":         func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"another direction": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, good.URL, http.StatusTemporaryRedirect)
		},
		"without end": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			own := t.TempDir()
			copyTree(t, dir, own)
			l := openWitnessed(t, own, Witness{Key: good.Key, URL: server.URL})
			add(t, l, frames(0, 5)...)
			for deadline := time.Now().Add(20 * time.Second); l.Cosigned()[0].Failed == nil; <-time.After(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is taken")
				}
			}
			if _, err := os.Stat(filepath.Join(own, cosignedName)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something is kept: %v", err)
			}
		})
	}
}

// TestWitnessCheck: a witness without a good key or URL is refused.
func TestWitnessCheck(t *testing.T) {
	t.Parallel()
	for _, w := range []Witness{{}, {Key: "x", URL: "http://x/"}} {
		if w.Check() == nil {
			t.Errorf("%v is taken", w)
		}
	}
}
