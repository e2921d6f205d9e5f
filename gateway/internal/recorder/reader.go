package recorder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// reader reads entries in order, from segment to segment.
type reader struct {
	spool *spool.Spool
	at    spool.Position
	file  disk.File // of segment open; nil if none is
	open  uint32
}

// batch is frames and the room that they were read into, in one piece of memory that
// is used again once the control plane has them: of a busy gateway they would be a
// third of all that it allocates.
type batch struct {
	controlv1.Batch
	room [maxBytes]byte
	sent atomic.Bool // it is not being encoded any more
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// free gives back a batch that was acknowledged, unless that came too early: it may
// still be in use then.
func (b *batch) free() {
	if b.sent.Swap(false) {
		clear(b.Frames)
		batches.Put(b)
	}
}

// batch reads whole entries from where the reader is, as many as a batch
// takes; full says that it takes no more. It gives nil if there are none yet.
func (r *reader) batch() (b *batch, full bool, err error) {
	end, err := r.find()
	if err != nil || r.at == end {
		return nil, false, err
	}
	b = batches.Get().(*batch)
	text, err := r.read(b.room[:], end)
	if err != nil {
		return nil, false, err
	}
	b.Frames = b.Frames[:0]
	for len(text) > 0 && len(b.Frames) < maxFrames {
		payload, rest, err := spool.CutEntry(text, crossing.MaxFrame)
		if err != nil {
			// Never passed over: what is after it would be acknowledged with it.
			return nil, false, r.fault(err)
		}
		b.Frames = append(b.Frames, payload)
		r.at += spool.Position(len(text) - len(rest))
		text = rest
	}
	b.Through = uint64(r.at)
	return b, r.at < end, nil
}

// read reads whole entries up to a position, as many as there is room for.
func (r *reader) read(room []byte, end spool.Position) ([]byte, error) {
	text := room[:min(end.Offset()-r.at.Offset(), int64(len(room)))]
	if _, err := r.file.ReadAt(text, r.at.Offset()); errors.Is(err, io.EOF) {
		return nil, r.fault(spool.ErrTorn)
	} else if err != nil {
		return nil, r.fault(err)
	}
	whole := spool.WholeEntries(text)
	if whole == 0 {
		return nil, r.fault(spool.ErrTorn)
	}
	return text[:whole], nil
}

func (r *reader) fault(err error) error {
	return fmt.Errorf("read spool: segment %d, offset %d: %w", r.at.Segment(), r.at.Offset(), err)
}

// find moves to the next entry, opens its segment and gives the segment's end;
// the reader's own position if there is no entry yet.
func (r *reader) find() (spool.Position, error) {
	for {
		start, end, ok := r.spool.Locate(r.at)
		r.at = start
		if !ok || r.file != nil && r.open == start.Segment() {
			return end, nil
		}
		r.close()
		f, err := r.spool.OpenSegment(start.Segment())
		switch {
		case err == nil:
			r.file, r.open = f, start.Segment()
			return end, nil
		case !errors.Is(err, fs.ErrNotExist):
			return 0, fmt.Errorf("read spool: %w", err)
		}
	}
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}
