package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Books are kept of what is recorded: they give the numbers, and know what of it was
// stated. All methods but Restore may be called concurrently. Nothing that they are
// given is theirs after the call.
//
// at is where a frame is: Frame reads it back as long as the books hold on to it. They
// hold on to each place that Opened and Closed give them, and to those for which Replay
// said so, and give each back once with Stated, perhaps in the call itself.
type Books interface {
	// Next is the next number, from 1, of this run's chain with that ingress gateway;
	// with "", of the chain of crossings that this gateway refused at egress.
	Next(ingress string) uint64
	// Void takes a number of this run's back: its opening could not be recorded.
	Void(ingress string, n uint64)
	// Unrecorded tells of a crossing that came from a peer and could not be recorded,
	// so that it was refused.
	Unrecorded(h *crossingv1.Half)
	// Opened tells of an opening that is in the spool.
	Opened(h *crossingv1.Half, frame []byte, at uint64)
	// Closed tells of an end that is in the spool, perhaps of a run that has ended.
	Closed(c *crossingv1.Close, frame []byte, at uint64)
	// Replay tells of any frame of another run of this gateway, in the order in which
	// that run wrote it, and at a start of one run after another; the frame may be one
	// that was stated. kept says that the books hold on to its place. Places that are
	// given back before New has returned wait until there is a recorder.
	Replay(f *crossingv1.Frame, frame []byte, at uint64) (kept bool)
	// Chains are what a start needs to know beyond the frames that the books hold
	// on to.
	Chains() []*crossingv1.ChainState
	// Restore gives back what Chains gave. It is called before Replay and, when another
	// run has ended, again with what that one knew: a state is ignored unless it is
	// ahead of what the books have of its chain.
	Restore(chains []*crossingv1.ChainState)
	// Runs tells, each second, which other runs this process has taken over, all of
	// whose frames were told; and which ones others write, or nobody has taken over yet.
	// Any other run was removed.
	Runs(taken, others []string)
}

// followInterval is how often the runs of other processes are read on.
const followInterval = 200 * time.Millisecond

// library is the directories of all runs, as the books know them. It is nil where
// nobody keeps books.
type library struct {
	books Books
	sys   disk.System
	dir   string
	own   string // the name of this run's directory
	log   *zap.Logger

	reading sync.Mutex // held while another run is read, or its chains are
	saving  sync.Mutex // held while chains are saved

	mu      sync.Mutex // guards what follows
	volumes []*volume  // by their index, from 1
}

// volume is one run's directory.
type volume struct {
	index    uint64
	dir      string
	follower *spool.Follower // guarded by reading

	// Guarded by mu.
	spool *spool.Spool   // nil while another process writes it
	held  map[uint32]int // until then: places that the books hold, by segment
	gone  bool
}

func newLibrary(cfg *Config) *library {
	if cfg.Books == nil {
		return nil
	}
	return &library{books: cfg.Books, sys: cfg.System, dir: cfg.Dir, log: cfg.Log}
}

// add adds a directory.
func (l *library) add(dir string) (*volume, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.volumes) == mostRuns {
		return nil, errRuns
	}
	v := &volume{index: uint64(len(l.volumes) + 1), dir: dir, held: map[uint32]int{}}
	l.volumes = append(l.volumes, v)
	return v, nil
}

// begin begins to read or to write a directory, unless it has begun.
func (l *library) begin(dir string) (*volume, error) {
	l.mu.Lock()
	i := slices.IndexFunc(l.volumes, func(v *volume) bool { return v.dir == dir && !v.gone })
	if i >= 0 {
		defer l.mu.Unlock()
		return l.volumes[i], nil
	}
	l.mu.Unlock()
	v, err := l.add(dir)
	if err == nil {
		v.follower = spool.Follow(l.sys, dir)
	}
	return v, err
}

// replay tells the books of a frame of another run.
func (l *library) replay(v *volume, payload []byte, at spool.Position) {
	f, err := crossing.UnmarshalFrame(payload)
	if err != nil {
		return // whoever takes the run over says so
	}
	// Held first: the books may give it back at once.
	l.hold(v, at.Segment(), 1)
	if !l.books.Replay(f, payload, place(v.index, at)) {
		l.hold(v, at.Segment(), -1)
	}
}

func (l *library) hold(v *volume, segment uint32, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v.held[segment] += n
}

// follow reads on in the runs of other processes, and a last time in those that are
// not there any more.
func (l *library) follow(dirs []string) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	var errs []error
	for _, dir := range dirs {
		v, err := l.begin(dir)
		if err == nil && !l.taken(v) {
			err = l.read(v)
		}
		errs = append(errs, err)
	}
	for _, v := range l.others(dirs) {
		errs = append(errs, l.read(v))
		v.follower.Close()
	}
	return errors.Join(errs...)
}

// read tells the books what is new in a run of another process. The caller holds
// reading.
func (l *library) read(v *volume) error {
	err := v.follower.Read(func(payload []byte, at spool.Position) error {
		l.replay(v, payload, at)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the other process has removed it
	}
	return err
}

// taken says that this process has taken the run over.
func (l *library) taken(v *volume) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return v.spool != nil
}

// others are the runs of other processes whose directories are none of those, and were
// once. They are given once.
func (l *library) others(dirs []string) (gone []*volume) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.volumes {
		if v.spool == nil && !v.gone && !slices.Contains(dirs, v.dir) {
			v.gone = true
			gone = append(gone, v)
		}
	}
	return gone
}

// stated gives places back. It says whether there is something to trim.
func (l *library) stated(at []uint64) (trim bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bySpool := map[*spool.Spool][]spool.Position{}
	for _, a := range at {
		index, p := placed(a)
		if index == 0 || index > uint64(len(l.volumes)) {
			continue
		}
		v := l.volumes[index-1]
		if v.spool != nil {
			bySpool[v.spool] = append(bySpool[v.spool], p)
		} else if v.held[p.Segment()]--; v.held[p.Segment()] == 0 {
			delete(v.held, p.Segment())
		}
	}
	for s, positions := range bySpool {
		trim = s.Release(positions...) || trim
	}
	return trim
}

// opened says that this process writes a run's directory now.
func (l *library) opened(v *volume, s *spool.Spool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for segment, n := range v.held {
		s.Hold(segment, n)
	}
	v.spool, v.held = s, nil
	v.follower.Close()
}

// frame reads the frame at a place.
func (l *library) frame(at uint64) ([]byte, error) {
	index, p := placed(at)
	l.mu.Lock()
	if index == 0 || index > uint64(len(l.volumes)) {
		l.mu.Unlock()
		return nil, errNoFrame
	}
	dir := l.volumes[index-1].dir // what is gone has no file there
	l.mu.Unlock()
	return spool.ReadAt(l.sys, dir, p)
}

// Stated gives places back that the books held on to: once all openings and ends of a
// segment of the spool were stated, and the control plane has them, it is removed. It
// does not wait for the disk, and may be called while the books are locked.
func (r *Recorder) Stated(at ...uint64) {
	if r.library == nil || len(at) == 0 {
		return
	}
	if r.library.stated(at) {
		select {
		case r.loose <- struct{}{}:
		default: // somebody is told already
		}
	}
}

// Follow tells the books what other processes of this gateway have recorded by now. It
// is done all the time; this is for who needs to know at once.
func (r *Recorder) Follow() error {
	if r.library == nil {
		return nil
	}
	_, err := r.runs.follow()
	return err
}

// Frame reads the frame at a place that the books hold on to.
func (r *Recorder) Frame(at uint64) ([]byte, error) {
	if r.library == nil {
		return nil, errNoFrame
	}
	return r.library.frame(at)
}

// keepBooks tells the books what other processes record, and gives space back that
// statements have made free, until the context ends.
func (r *Recorder) keepBooks(ctx context.Context) {
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	fault := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.loose:
			r.trim()
			for _, left := range r.left.all() {
				left.trim()
			}
		case <-ticker.C:
			_, err := r.runs.follow()
			if err == nil {
				fault = ""
			} else if err.Error() != fault { // said once
				fault = err.Error()
				r.cfg.Log.Error("another run's records are not read", zap.Error(err))
			}
		}
	}
}

// follow reads what is new in all other runs. It gives their directories; none if it
// could not tell.
func (r *runs) follow() ([]string, error) {
	dirs, err := r.others()
	if err == nil {
		err = r.library.follow(dirs)
	}
	if err != nil {
		return dirs, fmt.Errorf("follow runs: %w", err)
	}
	return dirs, nil
}
