package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

// Each run of a gateway has a directory of its own below the spool's, with a
// lock of its own: a gateway that drains and the one that has taken its place
// record side by side. Whoever runs takes over what nobody holds any more: it
// closes what was left open there, delivers, and removes the directory. The
// spool's own lock is held by all processes of one gateway together, who hand
// it on; it keeps everybody else out.

const (
	// lookInterval is how often a recorder looks for runs that have ended.
	lookInterval = time.Second
	// runTries bounds the tries to make a run's directory. One is enough unless
	// another process takes the new directory for one that was left.
	runTries = 10
	// earlierSuffix is added to the spool's name while it becomes a run's.
	earlierSuffix = ".earlier"
)

// runs is the directory that the runs of one gateway share.
type runs struct {
	dir  string
	own  string   // the name of this run's directory
	lock *os.File // held by every process of the gateway

	// Of the goroutine that looks for runs that have ended.
	faulty map[string]bool // directories whose fault was logged
}

// openRuns makes the directory, takes its lock unless it was handed over, and
// gives a spool from before runs had directories one of its own.
func openRuns(cfg *Config) (*runs, error) {
	if err := recoverMove(cfg.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	all := &runs{dir: cfg.Dir, lock: cfg.Lock, faulty: map[string]bool{}}
	if all.lock != nil {
		return all, nil
	}
	var err error
	if all.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := all.moveEarlier(); err != nil {
		return nil, errors.Join(err, all.lock.Close())
	}
	return all, nil
}

// recoverMove goes on with a move that a crash cut off.
func recoverMove(dir string) error {
	switch _, err := os.Stat(dir + earlierSuffix); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for an earlier spool: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	return settleMove(dir)
}

// moveEarlier moves a spool whose files are not in a run's directory, as they
// were once, into one: as a whole, for they belong together.
func (r *runs) moveEarlier() error {
	numbers, err := segments(r.dir)
	if err != nil || len(numbers) == 0 {
		return err
	}
	if err := os.Rename(r.dir, r.dir+earlierSuffix); err != nil {
		return fmt.Errorf("move earlier spool: %w", err)
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	moved := r.lock // goes with its file, and is free once that is in its place
	if r.lock, err = lockDir(r.dir); err != nil {
		r.lock = moved
		return err
	}
	return errors.Join(settleMove(r.dir), moved.Close())
}

func settleMove(dir string) error {
	if err := os.Rename(dir+earlierSuffix, filepath.Join(dir, crossing.NewRun())); err != nil {
		return fmt.Errorf("move earlier spool: %w", err)
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// begin makes the directory of a new run, and its recorder.
func (r *runs) begin(cfg Config) (*Recorder, error) {
	for try := 1; ; try++ {
		run, own := crossing.NewRun(), cfg
		own.Dir = filepath.Join(r.dir, run)
		rec, err := newRecorder(own, run, segmentSize)
		if errors.Is(err, ErrInUse) && try < runTries {
			continue
		}
		if err != nil {
			return nil, err
		}
		rec.runs, r.own = r, run
		if err := syncDir(r.dir); err != nil {
			return nil, errors.Join(err, rec.CloseSpool())
		}
		return rec, nil
	}
}

// unlock lets go of the spool. A second call does nothing.
func (r *runs) unlock() error {
	if err := r.lock.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// others are the directories of all runs but this one.
func (r *runs) others() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != r.own && crossing.CheckRun(e.Name()) == nil {
			dirs = append(dirs, filepath.Join(r.dir, e.Name()))
		}
	}
	return dirs, nil
}

// size is the bytes of all runs but this one. What vanishes meanwhile has none.
func (r *runs) size() int64 {
	dirs, err := r.others()
	if err != nil {
		return 0
	}
	var sum int64
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), suffix) {
				sum += info.Size()
			}
		}
	}
	return sum
}

// takeOver opens the next run that has ended; nil if there is none.
func (r *runs) takeOver(cfg Config) *Recorder {
	dirs, err := r.others()
	if err != nil {
		cfg.Log.Error("runs that have ended not found", zap.Error(err))
		return nil
	}
	for _, dir := range dirs {
		left := cfg
		left.Dir = dir
		rec, err := newRecorder(left, crossing.NewRun(), segmentSize)
		switch {
		case err == nil:
			return rec
		case !errors.Is(err, ErrInUse) && !errors.Is(err, fs.ErrNotExist) && !r.faulty[dir]:
			r.faulty[dir] = true
			cfg.Log.Error("records of an earlier run are not delivered", zap.String("directory", dir), zap.Error(err))
		}
	}
	return nil
}

// remove removes the directory of a run of which everything was delivered. What
// people are to look at moves up, and keeps the run's name before its own.
func (r *runs) remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove run: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if spent(e.Name()) {
			err = os.Remove(name)
		} else {
			err = os.Rename(name, dir+"-"+e.Name())
		}
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, os.Remove(dir))...); err != nil {
		return fmt.Errorf("remove run: %w", err)
	}
	return nil
}

// leave removes the directory of a run that has ended and of which nothing is
// left. Otherwise it is for whoever runs next.
func (r *Recorder) leave() error {
	if !r.empty() {
		return nil
	}
	lock, err := lockDir(r.cfg.Dir) // the spool has let go of it when it closed
	if errors.Is(err, ErrInUse) || errors.Is(err, fs.ErrNotExist) {
		return nil // somebody has taken it over
	}
	if err != nil {
		return err
	}
	return errors.Join(r.runs.remove(r.cfg.Dir), lock.Close())
}

// spent says of a file that it is of no use once everything was delivered.
func spent(name string) bool {
	switch strings.TrimSuffix(name, ".new") {
	case lockFile, ackFile, openFile:
		return true
	}
	return strings.HasSuffix(name, suffix)
}

// bound lets this run have what the others leave of the spool.
func (s *spool) bound(most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = most
}

// inherit takes over runs that have ended, one after another, and keeps this
// one's share of the spool, until the context ends.
func (r *Recorder) inherit(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	var over chan struct{} // closed when a run was delivered; nil while there is none
	for {
		if over == nil {
			if left := r.runs.takeOver(r.cfg); left != nil {
				over = make(chan struct{})
				r.left.Store(left)
				go func() {
					defer close(over)
					r.deliverLeft(ctx, left)
				}()
			}
		}
		r.spool.bound(r.cfg.MaxBytes - r.runs.size())
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
		return
	}
}

// deliverLeft delivers what an earlier run has left, and removes it.
func (r *Recorder) deliverLeft(ctx context.Context, left *Recorder) {
	log := r.cfg.Log.With(zap.String("directory", left.cfg.Dir))
	log.Info("records of an earlier run are taken over", zap.Uint64("bytes", left.Pending()))
	defer r.left.Store(nil)
	if left.exhaust(ctx) {
		if err := r.runs.remove(left.cfg.Dir); err != nil {
			log.Error("earlier run not removed", zap.Error(err))
		}
	}
	if err := left.CloseSpool(); err != nil {
		log.Error("earlier run not closed", zap.Error(err))
	}
}

// exhaust delivers until nothing is left, which it says, or until the context
// ends.
func (r *Recorder) exhaust(ctx context.Context) bool {
	ctx, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	parts.Go(func() { r.flush(ctx) })
	parts.Go(func() { r.deliver(ctx) })
	for _, moved := r.acked.watch(); !r.empty() && ctx.Err() == nil; _, moved = r.acked.watch() {
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
	stop()
	parts.Wait()
	return r.empty()
}

// empty says that everything was delivered, the end of each crossing included.
func (r *Recorder) empty() bool {
	return r.spool.waiting() == 0 && len(r.open.keys()) == 0
}
