package recorder

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// left is the earlier runs that this one has taken over and not removed yet.
type left struct {
	mu   sync.Mutex // guards what follows
	runs []*Recorder
}

func (l *left) all() []*Recorder {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.runs)
}

func (l *left) add(r *Recorder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, r)
}

func (l *left) drop(r *Recorder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = slices.DeleteFunc(l.runs, func(other *Recorder) bool { return other == r })
}

// inherit takes over runs that have ended and delivers them, one after another, and
// keeps this one's share of the spool, until the context ends.
func (r *Recorder) inherit(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	var over chan struct{} // closed when a run was delivered; nil while there is none
	for {
		if over == nil && !r.retired.Load() {
			over = r.deliverNext(ctx)
		}
		tell := r.lookAtRuns() // before: what is gone by then has left its chains, which are taken over
		r.removeLeft()
		tell()
		r.spool.Bound(r.cfg.MaxBytes - r.runs.size())
		select {
		case <-over:
			over = nil
			continue // there may be more
		case <-ticker.C:
			continue
		case <-ctx.Done():
		}
		if over != nil {
			<-over
		}
		r.closeLeft()
		return
	}
}

// deliverNext takes over the next run that has ended, if there is one, and delivers
// it. The channel is closed when it was delivered.
func (r *Recorder) deliverNext(ctx context.Context) chan struct{} {
	next := r.runs.takeOver(r.cfg)
	if next == nil {
		return nil
	}
	r.cfg.Log.Info("records of an earlier run are taken over",
		zap.String("directory", next.cfg.Dir), zap.Uint64("bytes", next.Pending()))
	r.left.add(next)
	over := make(chan struct{})
	go func() {
		defer close(over)
		next.exhaust(ctx)
	}()
	return over
}

// removeLeft removes what was delivered of earlier runs, and stated.
func (r *Recorder) removeLeft() {
	for _, done := range r.left.all() {
		if !done.spent() {
			continue
		}
		err := r.library.saveChains()
		if err == nil {
			err = errors.Join(r.runs.remove(done.cfg.Dir), done.CloseSpool())
			r.left.drop(done)
		}
		if err != nil {
			r.cfg.Log.Error("earlier run not removed", zap.String("directory", done.cfg.Dir), zap.Error(err))
		}
	}
	if r.retired.Load() {
		return
	}
	if err := r.library.adopt(); err != nil {
		r.cfg.Log.Error("chains of an earlier run are not taken over", zap.Error(err))
	}
}

// lookAtRuns looks which other runs there are, and whose they are, and gives what
// tells the books.
func (r *Recorder) lookAtRuns() (tell func()) {
	if r.cfg.Books == nil {
		return func() {}
	}
	dirs, err := r.runs.follow() // or the rest of one that has ended would come after
	if err != nil && dirs == nil {
		return func() {} // nobody knows, and whoever follows says so
	}
	var taken, others []string
	for _, left := range r.left.all() {
		taken = append(taken, filepath.Base(left.cfg.Dir))
	}
	for _, dir := range dirs {
		if run := filepath.Base(dir); !slices.Contains(taken, run) {
			others = append(others, run)
		}
	}
	return func() { r.cfg.Books.Runs(taken, others) }
}

// Retire leaves it to another process of this gateway to take over runs that end.
func (r *Recorder) Retire() { r.retired.Store(true) }

func (r *Recorder) closeLeft() {
	for _, done := range r.left.all() {
		if err := done.CloseSpool(); err != nil {
			r.cfg.Log.Error("earlier run not closed", zap.String("directory", done.cfg.Dir), zap.Error(err))
		}
		r.left.drop(done)
	}
}

// exhaust delivers until nothing is left, or until the context ends.
func (r *Recorder) exhaust(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	parts.Go(func() { r.flush(ctx) })
	parts.Go(func() { r.deliver(ctx) })
	for _, moved := r.spool.Acknowledged(); !r.delivered() && ctx.Err() == nil; _, moved = r.spool.Acknowledged() {
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
	stop()
	parts.Wait()
}

// delivered says that everything was delivered, the end of each crossing included.
func (r *Recorder) delivered() bool { return r.spool.Waiting() == 0 && len(r.open.keys()) == 0 }

// spent says that nobody needs the run's frames any more.
func (r *Recorder) spent() bool { return r.delivered() && r.spool.Held() == 0 }
