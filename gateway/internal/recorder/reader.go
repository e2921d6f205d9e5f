package recorder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// reader reads entries in order, from segment to segment.
type reader struct {
	spool *spool
	at    position
	file  *os.File // of segment open; nil if none is
	open  uint32
}

// batch reads whole entries from where the reader is, as many as a batch
// takes; full says that it takes no more. It gives nil if there are none yet.
func (r *reader) batch() (batch *controlv1.Batch, full bool, err error) {
	end, err := r.find()
	if err != nil || r.at == end {
		return nil, false, err
	}
	text, n, err := r.read(end)
	if err != nil {
		return nil, false, err
	}
	batch = &controlv1.Batch{Frames: make([][]byte, 0, min(n, maxFrames))}
	for len(text) > 0 && len(batch.Frames) < maxFrames {
		payload, rest, err := cutEntry(text)
		if err != nil {
			// Never passed over: what is after it would be acknowledged with it.
			return nil, false, r.fault(err)
		}
		batch.Frames = append(batch.Frames, payload)
		r.at += position(len(text) - len(rest))
		text = rest
	}
	batch.Through = uint64(r.at)
	return batch, r.at < end, nil
}

// read reads n whole entries up to a position, of as many bytes as a batch takes.
func (r *reader) read(end position) (text []byte, n int, err error) {
	text = make([]byte, min(end.offset()-r.at.offset(), maxBytes))
	if _, err := r.file.ReadAt(text, r.at.offset()); errors.Is(err, io.EOF) {
		return nil, 0, r.fault(errTorn)
	} else if err != nil {
		return nil, 0, r.fault(err)
	}
	whole := 0
	for size := entrySize(text); size > 0; size = entrySize(text[whole:]) {
		whole += size
		n++
	}
	if n == 0 {
		return nil, 0, r.fault(errTorn)
	}
	return text[:whole], n, nil
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
