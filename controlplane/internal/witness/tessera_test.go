package witness

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/mod/sumdb/note"
)

// tesseraLog is a log of Tessera's in a directory that publishes nothing without
// the witness.
type tesseraLog struct {
	t        *testing.T
	appender *tessera.Appender
	reader   tessera.LogReader
	shutdown func(context.Context) error
	cancel   func()
}

func newTessera(t *testing.T, dir string, signer note.Signer, w *Witness) *tesseraLog {
	t.Helper()
	at, err := url.Parse("http://" + w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	one, err := tessera.NewWitness(w.VKey(), at)
	if err != nil {
		t.Fatal(err)
	}
	driver, err := posix.New(t.Context(), posix.Config{Path: dir, HTTPClient: &http.Client{}})
	if err != nil {
		t.Fatal(err)
	}
	l := &tesseraLog{t: t}
	ctx, cancel := context.WithCancel(t.Context())
	l.cancel = cancel
	l.appender, l.shutdown, l.reader, err = tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(16, 10*time.Millisecond).
		WithCheckpointInterval(100*time.Millisecond).
		WithWitnesses(tessera.NewWitnessGroup(1, one), &tessera.WitnessOptions{Timeout: 5 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// grow adds entries up to that many.
func (l *tesseraLog) grow(what string, from, to int) {
	l.t.Helper()
	futures := make([]tessera.IndexFuture, 0, to-from)
	for i := from; i < to; i++ {
		futures = append(futures, l.appender.Add(l.t.Context(), tessera.NewEntry(fmt.Appendf(nil, "%s %d", what, i))))
	}
	for _, done := range futures {
		if _, err := done(); err != nil {
			l.t.Fatal(err)
		}
	}
}

// published waits until a tree of that size is published, and gives its checkpoint.
func (l *tesseraLog) published(size int) []byte {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	await := tessera.NewPublicationAwaiter(ctx, l.reader.ReadCheckpoint, 20*time.Millisecond)
	_, checkpoint, err := await.Await(ctx, func() (tessera.Index, error) { return tessera.Index{Index: uint64(size - 1)}, nil })
	if err != nil {
		l.t.Fatalf("size %d is not published: %v", size, err)
	}
	return checkpoint
}

// TestTessera holds the witness against Tessera's own client: a log that
// publishes only what is witnessed grows over restarts of both, and one that
// begins anew under its key publishes nothing any more.
func TestTessera(t *testing.T) {
	l := newLog(t, testOrigin)
	core, said := observer.New(zap.DebugLevel)
	cfg := testConfig(t, l)
	cfg.Log = zap.New(core)
	dir := t.TempDir()
	size := 0
	for _, to := range []int{1, 7, 40} {
		w, stop := serve(t, cfg)
		log := newTessera(t, dir, l.signer, w)
		log.grow("entry", size, to)
		size = to
		h, err := w.key.recall(log.published(to))
		if err != nil || h.size != int64(to) {
			t.Errorf("size %d is published as %+v, %v", to, h, err)
		}
		if err := log.shutdown(t.Context()); err != nil {
			t.Errorf("shut Tessera down: %v", err)
		}
		log.cancel()
		stop()
	}
	w, stop := serve(t, cfg)
	defer stop()
	anew := newTessera(t, t.TempDir(), l.signer, w)
	defer anew.cancel()
	anew.grow("another", 0, 45)
	tick := time.NewTicker(20 * time.Millisecond) // the witness's log has no other way to wait for it
	defer tick.Stop()
	for said.FilterMessage("checkpoint is not shown to contain the one cosigned").Len() == 0 {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
	if checkpoint, err := anew.reader.ReadCheckpoint(t.Context()); err == nil {
		t.Errorf("a log that began anew has published %q", checkpoint)
	}
}
