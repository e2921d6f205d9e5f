package l7

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Kind of a frame. FRAMING.md is the format; the numbers are part of it.
type Kind uint8

// The kinds.
const (
	KindRequestHead  Kind = 1
	KindResponseHead Kind = 2
	KindData         Kind = 3
	KindTrailers     Kind = 4
	KindRefusal      Kind = 5
)

// String is the kind's name in FRAMING.md.
func (k Kind) String() string {
	switch k {
	case KindRequestHead:
		return "REQUEST_HEAD"
	case KindResponseHead:
		return "RESPONSE_HEAD"
	case KindData:
		return "DATA"
	case KindTrailers:
		return "TRAILERS"
	case KindRefusal:
		return "REFUSAL"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

const (
	frameHeader = 4 // kind u8, length u24
	flagEnd     = 1 // in a head: neither data nor trailers follow

	// MaxData is the largest payload of a DATA frame in bytes.
	MaxData = 64 << 10
	// maxHeadPayload leaves room beside MaxHeadBytes for the lengths.
	maxHeadPayload = MaxHeadBytes + 4<<10
	maxRefusal     = 512
	maxOwner       = 253
)

// ErrFrame is wrapped by every error about what a peer sent, so that it can be
// told from the loss of the stream.
var ErrFrame = errors.New("bad frame")

// Refusal is what a gateway answers instead of an exchange.
type Refusal struct {
	Reason crossingv1.Reason
	Owner  string // of the transition; "" if it has none
}

// Frame is one frame as read. Which field is set follows from Kind.
type Frame struct {
	Kind     Kind
	Length   int  // of the payload, in bytes
	End      bool // nothing follows in this direction
	Request  *RequestHead
	Response *ResponseHead
	Trailers Fields
	Refusal  *Refusal
}

func appendHeader(b []byte, k Kind, length int) []byte {
	return append(b, byte(k), byte(length>>16), byte(length>>8), byte(length))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFields(b []byte, f Fields) []byte {
	b = binary.AppendUvarint(b, uint64(len(f)))
	for i := range f {
		b = appendString(appendString(b, f[i].Name), f[i].Value)
	}
	return b
}

func appendFlags(b []byte, end bool) []byte {
	if end {
		return append(b, flagEnd)
	}
	return append(b, 0)
}

// payload is the undecoded rest of a frame. After the first fault it stays
// empty and keeps the fault.
type payload struct {
	rest string
	err  error
}

func (p *payload) fail(format string, a ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: "+format, append([]any{ErrFrame}, a...)...)
	}
	p.rest = ""
}

func (p *payload) byte() byte {
	if p.rest == "" {
		p.fail("cut off")
		return 0
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	return c
}

// uvarint reads one in its shortest form, so that a head has one encoding.
func (p *payload) uvarint(limit uint64) uint64 {
	var n uint64
	for shift := uint(0); shift < 35; shift += 7 {
		c := p.byte()
		n |= uint64(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if c == 0 && shift > 0 {
			p.fail("number not in its shortest form")
		}
		if n > limit {
			p.fail("number %d beyond %d", n, limit)
		}
		return n
	}
	p.fail("number too long")
	return 0
}

func (p *payload) string() string {
	n := p.uvarint(maxHeadPayload)
	if n > uint64(len(p.rest)) {
		p.fail("string of %d bytes in %d", n, len(p.rest))
	}
	if p.err != nil {
		return ""
	}
	s := p.rest[:n]
	p.rest = p.rest[n:]
	return s
}

func (p *payload) flags() (end bool) {
	flags := p.byte()
	if flags&^flagEnd != 0 {
		p.fail("flags %#x", flags)
	}
	return flags&flagEnd != 0
}

// fields reads fields into room, or into more of it.
func (p *payload) fields(room Fields) Fields {
	f, n := room[:0], p.uvarint(MaxFields)
	if p.err != nil || n == 0 {
		return f
	}
	f = slices.Grow(f, int(n)+spareFields)
	for range n {
		f = append(f, Field{p.string(), p.string()})
	}
	return f
}

// done checks that all was read and that check, of the decoded head, passes.
func (p *payload) done(check func() error) error {
	if p.err == nil && p.rest != "" {
		p.fail("%d bytes too many", len(p.rest))
	}
	if p.err != nil {
		return p.err
	}
	if err := check(); err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return nil
}

// truncated turns the end of a stream inside an exchange into an error that
// cannot be taken for its end.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
