package recorder

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
)

// maxLate bounds the bytes of late frames beyond which no opening becomes one: what
// goes on while the disk fails may take so much memory.
const maxLate = 64 << 20

// late is the frames that could not be written yet, in their order: ends, and openings
// of crossings that went on. They are written once the disk is back.
type late struct {
	// waits says that there are some: then an end waits behind them, for its opening
	// may be one.
	waits atomic.Bool

	mu     sync.Mutex // guards what follows
	frames [][]byte
	size   int
}

// end adds an end. There is always room: at most one for each crossing that is open.
func (l *late) end(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(frame)
}

// opening adds an opening if there is room.
func (l *late) opening(frame []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+len(frame) > maxLate {
		return false
	}
	l.add(frame)
	return true
}

// add adds a copy. The caller holds mu.
func (l *late) add(frame []byte) {
	l.frames = append(l.frames, slices.Clone(frame))
	l.size += len(frame)
	l.waits.Store(true)
}

// first is the first one; nil if there is none.
func (l *late) first() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.frames) == 0 {
		return nil
	}
	return l.frames[0]
}

// written takes the first one away.
func (l *late) written() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size -= len(l.frames[0])
	l.frames[0] = nil
	if l.frames = l.frames[1:]; len(l.frames) == 0 {
		l.frames = nil
		l.waits.Store(false)
	}
}

// count is how many there are.
func (l *late) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.frames)
}

// writeLate writes late frames. Only one may at a time.
func (r *Recorder) writeLate() error {
	for frame := r.late.first(); frame != nil; frame = r.late.first() {
		if err := r.again(frame); err != nil {
			r.cfg.Log.Error("records still not written", zap.Int("count", r.late.count()), zap.Error(err))
			return err
		}
		r.late.written()
	}
	return nil
}

// again writes a frame that could not be written when it was made.
func (r *Recorder) again(frame []byte) error {
	f, err := crossing.UnmarshalFrame(frame)
	if err != nil {
		return fmt.Errorf("frame not understood that was written here: %w", err)
	}
	e := r.spool.Entry()
	defer r.spool.Free(e)
	if err := e.Seal(append(e.Room(), frame...), nil); err != nil {
		return err
	}
	if c := f.GetClose(); c != nil {
		return r.end(e, writerOf(f), c)
	}
	if err := r.spool.Append(e, spool.Kind{Limited: true, Held: r.cfg.Books != nil}); err != nil {
		return err
	}
	r.tellOpened(f.GetOpen(), e)
	return nil
}
