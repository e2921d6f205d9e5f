package l7

import (
	"encoding/binary"
	"fmt"
	"io"
)

// maxHeld is from how many bytes on held frames are written all the same.
const maxHeld = 128 << 10

// FrameWriter writes one direction of an exchange into a tunnel stream. Each
// method writes one frame with one Write, DATA of more than MaxData several,
// but for frames that are held to go out together.
// It checks heads, so that nothing leaves that the other gateway would refuse.
// It is not safe for concurrent use.
type FrameWriter struct {
	w       io.Writer
	buf     []byte // of the last frame, behind those that are held; reused
	held    int    // bytes of buf
	holding bool
}

// NewFrameWriter writes frames to w.
func NewFrameWriter(w io.Writer) *FrameWriter {
	return &FrameWriter{w: w}
}

// Reset makes it write another direction, to w.
func (fw *FrameWriter) Reset(w io.Writer) {
	*fw = FrameWriter{w: w, buf: emptied(fw.buf)}
}

// Hold keeps the frames that follow until Flush: for what is at hand as a whole.
// Where they are many, pieces of 128 KiB and more are written before.
func (fw *FrameWriter) Hold() { fw.holding = true }

// Flush writes what is held with one Write, and holds no more.
func (fw *FrameWriter) Flush() error {
	b := fw.Take()
	if len(b) == 0 {
		return nil
	}
	_, err := fw.w.Write(b)
	return err
}

// Take gives what is held to who writes it, until the next frame, and holds no
// more.
func (fw *FrameWriter) Take() []byte {
	b := fw.buf[:fw.held]
	fw.holding, fw.held = false, 0
	return b
}

// RequestHead writes a request's head. With end set neither data nor trailers
// follow.
func (fw *FrameWriter) RequestHead(h *RequestHead, end bool) error {
	if err := h.Check(); err != nil {
		return fmt.Errorf("frame request head: %w", err)
	}
	b := appendFlags(fw.start(), end)
	for _, s := range [...]string{h.Method, h.Scheme, h.Authority, h.Path} {
		b = appendString(b, s)
	}
	return fw.flush(KindRequestHead, appendFields(b, h.Fields))
}

// ResponseHead writes a response's head. With end set neither data nor
// trailers follow.
func (fw *FrameWriter) ResponseHead(h *ResponseHead, end bool) error {
	if err := h.Check(); err != nil {
		return fmt.Errorf("frame response head: %w", err)
	}
	b := appendFlags(fw.start(), end)
	b = binary.BigEndian.AppendUint16(b, uint16(h.Status))
	return fw.flush(KindResponseHead, appendFields(b, h.Fields))
}

// Data writes p, which may be of any length, in DATA frames.
func (fw *FrameWriter) Data(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), MaxData)
		if err := fw.flush(KindData, append(fw.start(), p[:n]...)); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// ReadFrom relays what r gives until io.EOF, a DATA frame for each Read and
// none held back. r reads straight into the frame. It does not end the
// direction: Trailers does.
func (fw *FrameWriter) ReadFrom(r io.Reader) (total int64, err error) {
	if err := fw.Flush(); err != nil {
		return 0, err
	}
	b := fw.start()
	if cap(b) < frameHeader+MaxData/2 {
		b = make([]byte, frameHeader, frameHeader+MaxData/2)
	}
	b = b[:min(cap(b), frameHeader+MaxData)]
	for {
		n, err := r.Read(b[frameHeader:])
		if n > 0 {
			if err := fw.flush(KindData, b[:frameHeader+n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Trailers ends the direction, with trailers or, if f is empty, without.
func (fw *FrameWriter) Trailers(f Fields) error {
	if err := f.Check(0); err != nil {
		return fmt.Errorf("frame trailers: %w", err)
	}
	return fw.flush(KindTrailers, appendFields(fw.start(), f))
}

// Refusal ends the direction by saying that the exchange is refused. It stands
// in place of a response head.
func (fw *FrameWriter) Refusal(r Refusal) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("frame refusal: %w", err)
	}
	b := binary.AppendUvarint(fw.start(), uint64(r.Reason))
	return fw.flush(KindRefusal, appendString(b, r.Owner))
}

// usualFrames is about what a head and what is held with it take, in bytes.
const usualFrames = 1 << 10

// start is the buffer with room for the frame's header.
func (fw *FrameWriter) start() []byte {
	if fw.buf == nil {
		fw.buf = make([]byte, 0, usualFrames)
	}
	return append(fw.buf[:fw.held], make([]byte, frameHeader)...)
}

// flush writes the frame that was begun by start, unless it is to be held.
func (fw *FrameWriter) flush(k Kind, b []byte) error {
	fw.buf = b
	appendHeader(b[fw.held:fw.held], k, len(b)-fw.held-frameHeader)
	if fw.holding && len(b) < maxHeld {
		fw.held = len(b)
		return nil
	}
	fw.held = 0
	_, err := fw.w.Write(b)
	return err
}
