package recorder

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxLeft is how many earlier runs wait to be delivered at a time: each has files open.
const maxLeft = 64

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

// inherit takes over runs that have ended, so that all of them are stated side by side,
// delivers them one after another, and keeps this one's share of the spool, until the
// context ends.
func (r *Recorder) inherit(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	d := delivery{turn: make(chan struct{}, 1), over: make(chan struct{}, 1)}
	for {
		r.takeOver(ctx, &d)
		tell := r.lookAtRuns() // before: what is gone by then has left its chains, which are taken over
		r.removeLeft()
		tell()
		r.spool.Bound(r.cfg.MaxBytes - r.runs.size())
		select {
		case <-d.over:
		case <-ticker.C:
		case <-ctx.Done():
			d.Wait()
			r.closeLeft()
			return
		}
	}
}

// delivery is of the runs that were taken over.
type delivery struct {
	sync.WaitGroup
	runs atomic.Int32  // that are not delivered
	turn chan struct{} // whose run is delivered puts something in: it holds one
	over chan struct{} // holds one signal: a run was delivered
}

// takeOver takes over the runs that have ended, and has them delivered.
func (r *Recorder) takeOver(ctx context.Context, d *delivery) {
	for d.runs.Load() < maxLeft && !r.retired.Load() {
		next := r.runs.takeOver(r.cfg)
		if next == nil {
			return
		}
		r.cfg.Log.Info("records of an earlier run are taken over",
			zap.String("directory", next.cfg.Dir), zap.Uint64("bytes", next.Pending()))
		r.left.add(next)
		d.runs.Add(1)
		d.Go(func() { d.deliver(ctx, next) })
	}
}

// deliver delivers a run when it is its turn.
func (d *delivery) deliver(ctx context.Context, next *Recorder) {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	next.exhaust(ctx)
	d.runs.Add(-1)
	<-d.turn
	select {
	case d.over <- struct{}{}:
	default: // somebody is told already
	}
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
