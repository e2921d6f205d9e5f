package recorder

import (
	"bufio"
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
	ahead *bufio.Reader // of a batch
}

// batch reads whole entries from where the reader is, as many as a batch
// takes; full says that it takes no more. It gives nil if there are none yet.
func (r *reader) batch() (batch *controlv1.Batch, full bool, err error) {
	end, err := r.find()
	if err != nil || r.at == end {
		return nil, false, err
	}
	source := io.NewSectionReader(r.file, r.at.offset(), end.offset()-r.at.offset())
	if r.ahead == nil {
		r.ahead = bufio.NewReaderSize(nil, 64<<10)
	}
	r.ahead.Reset(source)
	batch = &controlv1.Batch{}
	for size := 0; r.at < end && !full; {
		payload, err := readEntry(r.ahead)
		if err != nil {
			// Never passed over: what is after it would be acknowledged with it.
			return nil, false, fmt.Errorf("read spool: segment %d, offset %d: %w", r.at.segment(), r.at.offset(), err)
		}
		batch.Frames = append(batch.Frames, payload)
		size += len(payload)
		r.at += position(entryHeader + len(payload))
		full = len(batch.Frames) == maxFrames || size >= maxBytes
	}
	batch.Through = uint64(r.at)
	return batch, full, nil
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
