package witness

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/mod/sumdb/note"
)

// tesseraLog is a log of Tessera's in a directory, with Tessera's client of
// witnesses.
type tesseraLog struct {
	t         *testing.T
	appender  *tessera.Appender
	reader    tessera.LogReader
	witnesses tessera.WitnessGroup
	shutdown  func(context.Context) error
	cancel    func()
	size      int
}

// startTessera opens a log of that size. It publishes nothing without its witnesses
// unless it is told to go on without them: failOpen.
func startTessera(t *testing.T, dir string, signer note.Signer, policy string, size int, failOpen bool) *tesseraLog {
	t.Helper()
	witnesses, err := tessera.NewWitnessGroupFromPolicy([]byte(policy))
	if err != nil {
		t.Fatalf("%v, in\n%s", err, policy)
	}
	driver, err := posix.New(t.Context(), posix.Config{Path: dir, HTTPClient: &http.Client{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &tesseraLog{t: t, witnesses: witnesses, cancel: cancel, size: size}
	l.appender, l.shutdown, l.reader, err = tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(64, 10*time.Millisecond).
		WithCheckpointInterval(100*time.Millisecond).
		WithWitnesses(witnesses, &tessera.WitnessOptions{Timeout: 10 * time.Second, FailOpen: failOpen}))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return l
}

// add appends entries, waits until a tree with them is published, and gives its
// checkpoint. What witnesses said to it, they have said by then.
func (l *tesseraLog) add(entries ...string) []byte {
	l.t.Helper()
	futures := make([]tessera.IndexFuture, 0, len(entries))
	for _, entry := range entries {
		futures = append(futures, l.appender.Add(l.t.Context(), tessera.NewEntry([]byte(entry))))
	}
	for _, done := range futures {
		if _, err := done(); err != nil {
			l.t.Fatal(err)
		}
	}
	l.size += len(entries)
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	await := tessera.NewPublicationAwaiter(ctx, l.reader.ReadCheckpoint, 20*time.Millisecond)
	_, checkpoint, err := await.Await(ctx, func() (tessera.Index, error) { return tessera.Index{Index: uint64(l.size - 1)}, nil })
	if err != nil {
		l.t.Fatalf("size %d is not published: %v", l.size, err)
	}
	return checkpoint
}

func (l *tesseraLog) stop() {
	l.t.Helper()
	if err := l.shutdown(l.t.Context()); err != nil {
		l.t.Errorf("shut Tessera down: %v", err)
	}
	l.cancel()
}

// policyOf is a policy file with the witnesses' lines that wants all of them.
func policyOf(lines ...string) string {
	names := make([]string, 0, len(lines))
	for _, line := range lines {
		names = append(names, strings.Fields(line)[1])
	}
	return strings.Join(lines, "\n") + "\ngroup everybody all " + strings.Join(names, " ") + "\nquorum everybody\n"
}

// line is a witness's own line in policy files, with its URL.
func line(t *testing.T, cfg Config, w *Witness) string {
	t.Helper()
	cfg.URL = "http://" + w.Addr().String()
	text, err := cfg.KeyLine()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func entries(what string, from, to int) []string {
	all := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("%s %d", what, i))
	}
	return all
}

// TestTessera has a log of Tessera's grow, over restarts of both, that publishes
// only what is witnessed.
func TestTessera(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	cfg, dir, size := testConfig(t, l), t.TempDir(), 0
	for _, to := range []int{1, 7, 40, 300} {
		w, stop := serve(t, cfg)
		log := startTessera(t, dir, l.signer, policyOf(line(t, cfg, w)), size, false)
		checkpoint := log.add(entries("entry", size, to)...)
		size = to
		h, err := w.key.recall(checkpoint)
		if err != nil || h.size != int64(to) || !log.witnesses.Satisfied(checkpoint) {
			t.Errorf("size %d is published as %+v, %v", to, h, err)
		}
		log.stop()
		stop()
	}
}

// TestTesseraTampered is what the operator of a real log may do to it, who has its
// key: after ten entries were cosigned, the log that goes on under its key is
// another one. The witness refuses it, names it, and keeps what it was shown.
func TestTesseraTampered(t *testing.T) {
	t.Parallel()
	honest := entries("entry", 0, 10)
	edited := append(append(append([]string{}, honest[:3]...), "another entry 3"), honest[4:]...)
	deleted := append(append([]string{}, honest[:3]...), honest[4:]...)
	for _, c := range []struct {
		name   string
		begins []string // nil: a copy of the honest log's directory
		grows  []string // nil: it does not
		named  string
		keeps  string
	}{
		{"edits an entry", edited, nil, isFork, forked},
		{"edits an entry and goes on", edited, []string{"x", "y"}, isUnproven, unproven},
		{"deletes an entry", deleted, nil, isSmaller, smaller},
		{"deletes an entry and goes on", deleted, []string{"x", "y", "z"}, isUnproven, unproven},
		{"drops the tail", honest[:7], nil, isSmaller, smaller},
		{"drops the tail and grows again", honest[:7], []string{"x", "y", "z", "u"}, isUnproven, unproven},
		{"forks", nil, []string{"x"}, isFork, forked},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog(t, testOrigin)
			core, said := observer.New(zap.DebugLevel)
			cfg := testConfig(t, l)
			cfg.Log = zap.New(core)
			w, stop := serve(t, cfg)
			defer stop()
			policy, first, second := policyOf(line(t, cfg, w)), t.TempDir(), t.TempDir()
			log := startTessera(t, first, l.signer, policy, 0, false)
			last := log.add(honest...)
			log.stop()
			size := 0
			if c.begins == nil {
				if err := os.CopyFS(second, os.DirFS(first)); err != nil {
					t.Fatal(err)
				}
				log = startTessera(t, first, l.signer, policy, 10, false)
				last, size = log.add("entry 10"), 10
				log.stop()
			}
			other := startTessera(t, second, l.signer, policy, size, true)
			shown := last
			for _, more := range [][]string{c.begins, c.grows} {
				if len(more) > 0 {
					shown = other.add(more...)
				}
			}
			other.stop()
			if other.witnesses.Satisfied(shown) || !log.witnesses.Satisfied(last) {
				t.Errorf("the witness cosigned\n%s\nand\n%s", last, shown)
			}
			checkShown(t, said, c.named, c.keeps, l, cfg.Dir, last, shown)
		})
	}
}

// checkShown wants the two checkpoints named in one line of the witness's log, and
// kept in one file of evidence.
func checkShown(t *testing.T, said *observer.ObservedLogs, named, keeps string, l *testLog, dir string, last, shown []byte) {
	t.Helper()
	root := func(checkpoint []byte) string { return strings.Split(string(checkpoint), "\n")[2] }
	for _, entry := range said.FilterMessage(named).All() {
		fields := entry.ContextMap()
		if fields["submitted_root"] != root(shown) {
			continue // one that Tessera published before it had them all
		}
		if fields["cosigned_root"] != root(last) || fields["origin"] != l.origin {
			t.Errorf("it was named with %v", fields)
		}
		path, _ := fields["evidence"].(string)
		if filepath.Dir(path) != filepath.Join(dir, evidenceName, originHash(l.origin)) {
			t.Errorf("evidence %q is not in %q", path, dir)
		}
		f := readFinding(t, path)
		_, submitted, _ := strings.Cut(f.Submitted, "\n\n")
		checkEvidence(t, path, keeps, l, f.Submitted)
		if root([]byte(f.Cosigned)) != root(last) || root([]byte(submitted)) != root(shown) {
			t.Errorf("the evidence is %+v, want\n%s\nand\n%s", f, last, shown)
		}
		return
	}
	t.Errorf("%q was not said of\n%s\nbut %v", named, shown, said.All())
}
