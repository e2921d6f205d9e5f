package recorder

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// reader reads entries in order, from segment to segment.
type reader struct {
	dir  string
	at   position
	file *os.File
}

// batch reads whole entries from where the reader is, up to end, as many as a
// batch takes. None means that a segment ended; the next call goes on.
func (r *reader) batch(end position) (*controlv1.Batch, error) {
	if err := r.find(end); err != nil {
		return nil, err
	}
	limit := int64(1) << 62
	if r.at.segment() == end.segment() {
		limit = end.offset()
	}
	source := io.NewSectionReader(r.file, r.at.offset(), limit-r.at.offset())
	buffered := bufio.NewReaderSize(source, 64<<10)
	batch := &controlv1.Batch{}
	for size := 0; len(batch.Frames) < maxFrames && size < maxBytes; {
		payload, err := readEntry(buffered)
		last := r.at.segment() == end.segment()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) && !last {
			// Behind a torn entry stands nothing: its segment was given up.
			if len(batch.Frames) == 0 && !last {
				r.next()
			}
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read spool: segment %d, offset %d: %w", r.at.segment(), r.at.offset(), err)
		}
		batch.Frames = append(batch.Frames, payload)
		size += len(payload)
		r.at += position(entryHeader + len(payload))
	}
	batch.Through = uint64(r.at)
	return batch, nil
}

// find opens the segment of the reader's position, or the oldest one after it.
func (r *reader) find(end position) error {
	for r.file == nil {
		f, err := os.Open(segmentPath(r.dir, r.at.segment()))
		switch {
		case err == nil:
			r.file = f
		case errors.Is(err, os.ErrNotExist) && r.at.segment() < end.segment():
			numbers, err := segments(r.dir)
			if err != nil {
				return err
			}
			r.at = at(following(numbers, r.at.segment(), end.segment()), 0)
		default:
			return fmt.Errorf("read spool: %w", err)
		}
	}
	return nil
}

// following is the first of the rising numbers after n, or last.
func following(numbers []uint32, n, last uint32) uint32 {
	for _, number := range numbers {
		if number > n {
			return number
		}
	}
	return last
}

// next moves to the segment that follows.
func (r *reader) next() {
	r.close()
	r.at = at(r.at.segment()+1, 0)
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}
