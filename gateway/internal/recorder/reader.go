package recorder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// reader reads entries in order, from segment to segment.
type reader struct {
	spool *spool
	at    position
	file  *os.File // of segment open; nil if none is
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
		payload, rest, err := cutEntry(text)
		if err != nil {
			// Never passed over: what is after it would be acknowledged with it.
			return nil, false, r.fault(err)
		}
		b.Frames = append(b.Frames, payload)
		r.at += position(len(text) - len(rest))
		text = rest
	}
	b.Through = uint64(r.at)
	return b, r.at < end, nil
}

// read reads whole entries up to a position, as many as there is room for.
func (r *reader) read(room []byte, end position) ([]byte, error) {
	text := room[:min(end.offset()-r.at.offset(), int64(len(room)))]
	if _, err := r.file.ReadAt(text, r.at.offset()); errors.Is(err, io.EOF) {
		return nil, r.fault(errTorn)
	} else if err != nil {
		return nil, r.fault(err)
	}
	whole := 0
	for size := entrySize(text); size > 0; size = entrySize(text[whole:]) {
		whole += size
	}
	if whole == 0 {
		return nil, r.fault(errTorn)
	}
	return text[:whole], nil
}

func (r *reader) fault(err error) error {
	return fmt.Errorf("read spool: segment %d, offset %d: %w", r.at.segment(), r.at.offset(), err)
}

// find moves to the next entry, opens its segment and gives the segment's end;
// the reader's own position if there is no entry yet.
func (r *reader) find() (position, error) {
	for {
		start, end, ok := r.spool.locate(r.at)
		r.at = start
		if !ok || r.file != nil && r.open == start.segment() {
			return end, nil
		}
		r.close()
		f, err := os.Open(segmentPath(r.spool.dir, start.segment()))
		switch {
		case err == nil:
			r.file, r.open = f, start.segment()
			return end, nil
		case errors.Is(err, fs.ErrNotExist):
			r.spool.lose(start.segment())
		default:
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
