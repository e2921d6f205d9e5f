package recorder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
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
	// orderFile in a run's directory says, in decimal digits, how many runs had begun
	// when it did, of those that were there.
	orderFile = "order"
	// spentSuffix is added to a run's name while its directory is removed.
	spentSuffix = ".spent"
)

// runs is the directory that the runs of one gateway share.
type runs struct {
	sys     disk.System
	dir     string
	own     string    // the name of this run's directory
	lock    io.Closer // held by every process of the gateway
	library *library  // nil without books

	// Of the goroutine that looks for runs that have ended.
	faulty map[string]bool // directories whose fault was logged
}

// openRuns makes the directory, takes its lock unless it was handed over, gives a
// spool from before runs had directories one of its own, and tells the books what all
// runs have left.
func openRuns(cfg *Config) (*runs, error) {
	all := &runs{sys: cfg.System, dir: cfg.Dir, library: newLibrary(cfg), faulty: map[string]bool{}}
	if err := all.recoverMove(); err != nil {
		return nil, err
	}
	if err := errors.Join(all.sys.MakeDir(cfg.Dir), all.sys.SyncDir(filepath.Dir(cfg.Dir))); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	if err := all.take(cfg.Lock); err != nil {
		return nil, err
	}
	if err := all.recollect(); err != nil {
		return nil, errors.Join(err, all.lock.Close())
	}
	return all, nil
}

// take takes the lock, if there is none, and settles what only its first holder may.
func (r *runs) take(lock *os.File) error {
	if lock != nil {
		r.lock = lock
		return nil
	}
	var err error
	if r.lock, err = r.sys.Lock(r.dir); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := errors.Join(r.moveEarlier(), r.removeSpent()); err != nil {
		return errors.Join(err, r.lock.Close())
	}
	return nil
}

// recollect tells the books what runs have left, and those that go on have said so
// far.
func (r *runs) recollect() error {
	if r.library == nil {
		return nil
	}
	known, err := r.library.knew()
	if err == nil {
		err = r.library.restore(known...)
	}
	if err == nil {
		_, err = r.follow()
	}
	return err
}

// Lock is another descriptor of the spool's lock, for the process that takes this
// one's place. It is the caller's.
func (r *Recorder) Lock() (*os.File, error) {
	lock, ok := r.runs.lock.(*os.File)
	if !ok {
		return nil, errors.New("hand over the spool's lock: it is no file")
	}
	fd, err := unix.FcntlInt(lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hand over the spool's lock: %w", err)
	}
	return os.NewFile(uintptr(fd), disk.LockFile), nil
}

// recoverMove goes on with a move that a crash cut off.
func (r *runs) recoverMove() error {
	there, err := disk.Exists(r.sys, r.dir+earlierSuffix)
	if err != nil || !there {
		return err
	}
	if err := r.sys.MakeDir(r.dir); err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	return r.settleMove()
}

// moveEarlier moves a spool whose files are not in a run's directory, as they
// were once, into one: as a whole, for they belong together.
func (r *runs) moveEarlier() error {
	numbers, err := spool.Segments(r.sys, r.dir)
	if err != nil || len(numbers) == 0 {
		return err
	}
	if err := r.sys.Rename(r.dir, r.dir+earlierSuffix); err != nil {
		return fmt.Errorf("move earlier spool: %w", err)
	}
	if err := r.sys.MakeDir(r.dir); err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	moved := r.lock // goes with its file, and is free once that is in its place
	if r.lock, err = r.sys.Lock(r.dir); err != nil {
		r.lock = moved
		return err
	}
	return errors.Join(r.settleMove(), moved.Close())
}

func (r *runs) settleMove() error {
	if err := r.sys.Rename(r.dir+earlierSuffix, filepath.Join(r.dir, crossing.NewRun())); err != nil {
		return fmt.Errorf("move earlier spool: %w", err)
	}
	return errors.Join(r.sys.SyncDir(r.dir), r.sys.SyncDir(filepath.Dir(r.dir)))
}

// begin makes the directory of a new run, and its recorder.
func (r *runs) begin(cfg Config) (*Recorder, error) {
	for try := 1; ; try++ {
		run, own := crossing.NewRun(), cfg
		own.Dir = filepath.Join(r.dir, run)
		if r.library != nil {
			r.library.own = run
		}
		rec, err := newRecorder(own, run, r.library)
		if errors.Is(err, ErrInUse) && try < runTries {
			continue
		}
		if err != nil {
			return nil, err
		}
		rec.runs, r.own = r, run
		if err := errors.Join(r.saveOrder(own.Dir), r.sys.SyncDir(r.dir)); err != nil {
			return nil, errors.Join(err, rec.CloseSpool())
		}
		return rec, nil
	}
}

// saveOrder puts a new run behind all that are there.
func (r *runs) saveOrder(dir string) error {
	others, err := r.others()
	if err != nil {
		return err
	}
	last := 0
	for _, other := range others {
		last = max(last, r.order(other))
	}
	return disk.Replace(r.sys, filepath.Join(dir, orderFile), strconv.AppendInt(nil, int64(last)+1, 10))
}

// order is the place of a run among others; 0 of one that does not say.
func (r *runs) order(dir string) int {
	text, err := disk.ReadFile(r.sys, filepath.Join(dir, orderFile))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return 0
	}
	return n
}

// unlock lets go of the spool. A second call does nothing.
func (r *runs) unlock() error {
	if err := r.lock.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// others are the directories of all runs but this one, in the order in which they
// began: what a later one says of an earlier one comes after it.
func (r *runs) others() ([]string, error) {
	entries, err := r.sys.List(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		if e.Dir && e.Name != r.own && crossing.CheckRun(e.Name) == nil {
			dirs = append(dirs, filepath.Join(r.dir, e.Name))
		}
	}
	if len(dirs) > 1 {
		order := make(map[string]int, len(dirs))
		for _, dir := range dirs {
			order[dir] = r.order(dir)
		}
		slices.SortFunc(dirs, func(a, b string) int { return order[a] - order[b] })
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
		entries, _ := r.sys.List(dir)
		for _, e := range entries {
			if strings.HasSuffix(e.Name, spool.Suffix) {
				sum += e.Size
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
		rec, err := r.open(left)
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

// open opens a run that was left, and tells the books what they have not heard of it.
func (r *runs) open(left Config) (*Recorder, error) {
	if r.library != nil {
		r.library.reading.Lock()
		defer r.library.reading.Unlock()
	}
	return newRecorder(left, crossing.NewRun(), r.library)
}

// remove removes the directory of a run of which everything was delivered. What
// people are to look at moves up, and keeps the run's name before its own. After a
// crash either all of the run is there or nothing, for a part of it would say that
// something is open.
func (r *runs) remove(dir string) error {
	entries, err := r.sys.List(dir)
	var errs []error
	for _, e := range entries {
		if !spent(e.Name) {
			errs = append(errs, r.sys.Rename(filepath.Join(dir, e.Name), dir+"-"+e.Name))
		}
	}
	err = errors.Join(append(errs, err)...)
	if err == nil {
		err = r.sys.Rename(dir, dir+spentSuffix)
	}
	if err == nil {
		err = r.sys.SyncDir(r.dir)
	}
	if err == nil {
		err = r.empty(dir + spentSuffix)
	}
	if err != nil {
		return fmt.Errorf("remove run: %w", err)
	}
	return nil
}

// empty removes a directory and the files in it.
func (r *runs) empty(dir string) error {
	entries, err := r.sys.List(dir)
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, r.sys.Remove(filepath.Join(dir, e.Name)))
	}
	return errors.Join(append(errs, r.sys.Remove(dir))...)
}

// removeSpent goes on with removals that a crash cut off.
func (r *runs) removeSpent() error {
	entries, err := r.sys.List(r.dir)
	if err != nil {
		return fmt.Errorf("list runs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.Dir && strings.HasSuffix(e.Name, spentSuffix) {
			errs = append(errs, r.empty(filepath.Join(r.dir, e.Name)))
		}
	}
	return errors.Join(errs...)
}

// leave removes the directory of a run that has ended and of which nothing is
// left. Otherwise it is for whoever runs next.
func (r *Recorder) leave() error {
	if !r.spent() {
		return nil
	}
	lock, err := r.cfg.System.Lock(r.cfg.Dir) // the spool has let go of it when it closed
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
	switch strings.TrimSuffix(name, disk.NewSuffix) {
	case disk.LockFile, spool.AckFile, openFile, orderFile:
		return true
	}
	return strings.HasSuffix(name, spool.Suffix)
}
