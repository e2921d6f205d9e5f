package l7

import (
	"fmt"
	"io"
	"slices"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// FrameReader reads one direction of an exchange out of a tunnel stream. It
// trusts nothing: heads are checked as if they came from a caller, order is
// enforced, and a stream that ends before its direction ended is
// io.ErrUnexpectedEOF. It is not safe for concurrent use.
type FrameReader struct {
	in     ahead
	header [frameHeader]byte
	opened bool // a head was read
	ended  bool
	data   int // bytes of the current DATA frame not yet read

	// What frames point to. Reset uses its memory again.
	payload  []byte
	request  RequestHead
	response ResponseHead
	trailers Fields
	refusal  Refusal
	texts    [2]string // of the last head and the last trailers
}

// What Reset keeps of an exchange that was larger than most is not worth its room.
const (
	mostPayload = 4 << 10 // bytes
	mostFields  = 64
	// spareFields is room for what gateways add to a head.
	spareFields = 4
)

// NewFrameReader reads frames from r.
func NewFrameReader(r io.Reader) *FrameReader {
	fr := new(FrameReader)
	fr.Reset(r)
	return fr
}

// Reset makes it read another direction, from r. Heads and trailers that it gave
// before are no good any more; their texts are.
func (fr *FrameReader) Reset(r io.Reader) {
	*fr = FrameReader{
		in: ahead{r: r, room: emptied(fr.in.room)}, payload: emptied(fr.payload),
		request:  RequestHead{Fields: fr.request.Fields.emptied()},
		response: ResponseHead{Fields: fr.response.Fields.emptied()},
		trailers: fr.trailers.emptied(),
		texts:    fr.texts,
	}
}

func emptied(b []byte) []byte {
	if cap(b) > mostPayload {
		return nil
	}
	return b[:0]
}

// emptied lets go of all texts.
func (f Fields) emptied() Fields {
	if cap(f) > mostFields {
		return nil
	}
	clear(f[:cap(f)])
	return f[:0]
}

// Next reads the next frame, which is good until Reset. A DATA frame's payload is not in it: Read gives
// it; what was not read of it is skipped. After the frame that ends the
// direction Next returns io.EOF. Errors about what the peer sent wrap ErrFrame.
func (fr *FrameReader) Next() (Frame, error) {
	if fr.ended {
		return Frame{}, io.EOF
	}
	if err := fr.skip(); err != nil {
		return Frame{}, err
	}
	if _, err := io.ReadFull(&fr.in, fr.header[:]); err != nil {
		return Frame{}, truncated(err)
	}
	f := Frame{Kind: Kind(fr.header[0]), Length: frameLength(fr.header[:])}
	if err := fr.checkOrder(f); err != nil {
		return Frame{}, err
	}
	if f.Kind == KindData {
		fr.data = f.Length
		return f, nil
	}
	if err := fr.decode(&f); err != nil {
		return Frame{}, fmt.Errorf("read %v: %w", f.Kind, err)
	}
	fr.opened, fr.ended = true, f.End
	return f, nil
}

// Read reads the payload of the DATA frame that Next gave last. At its end it
// returns io.EOF: call Next again.
func (fr *FrameReader) Read(p []byte) (int, error) {
	if fr.data == 0 {
		return 0, io.EOF
	}
	if len(p) > fr.data {
		p = p[:fr.data]
	}
	n, err := fr.in.Read(p)
	fr.data -= n
	if n > 0 {
		return n, nil // an error comes again
	}
	return 0, truncated(err)
}

// ReadData reads the payload of the DATA frames that follow a head, as one, until
// the direction ends. Then it gives io.EOF and has put the trailers into trailers.
// It takes the place of Next and Read.
func (fr *FrameReader) ReadData(p []byte, trailers *Fields) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for fr.data == 0 {
		f, err := fr.Next()
		if err != nil {
			return 0, err
		}
		if f.End {
			*trailers = f.Trailers
			return 0, io.EOF
		}
	}
	return fr.Read(p)
}

func (fr *FrameReader) skip() error {
	if fr.data == 0 {
		return nil
	}
	n, err := io.CopyN(io.Discard, &fr.in, int64(fr.data))
	fr.data -= int(n)
	return truncated(err)
}

func (fr *FrameReader) checkOrder(f Frame) error {
	var limit int
	first := false
	switch f.Kind {
	case KindRequestHead, KindResponseHead:
		limit, first = maxHeadPayload, true
	case KindRefusal:
		limit, first = maxRefusal, true
	case KindData:
		limit = MaxData
	case KindTrailers:
		limit = maxHeadPayload
	default:
		return fmt.Errorf("%w: unknown %v", ErrFrame, f.Kind)
	}
	switch {
	case first == fr.opened:
		return fmt.Errorf("%w: %v out of order", ErrFrame, f.Kind)
	case f.Length > limit:
		return fmt.Errorf("%w: %v of %d bytes, at most %d", ErrFrame, f.Kind, f.Length, limit)
	case f.Length == 0:
		return fmt.Errorf("%w: empty %v", ErrFrame, f.Kind)
	}
	return nil
}

func (fr *FrameReader) decode(f *Frame) error {
	fr.payload = slices.Grow(fr.payload[:0], f.Length)[:f.Length]
	if _, err := io.ReadFull(&fr.in, fr.payload); err != nil {
		return truncated(err)
	}
	p := payload{rest: fr.text(f.Kind)}
	switch f.Kind {
	case KindRequestHead:
		f.End, f.Request = p.flags(), &fr.request
		h := f.Request
		h.Method, h.Scheme, h.Authority, h.Path, h.Fields = p.string(), p.string(), p.string(), p.string(), p.fields(h.Fields)
		return p.done(h.Check)
	case KindResponseHead:
		f.End, f.Response = p.flags(), &fr.response
		h := f.Response
		h.Status, h.Fields = int(p.byte())<<8|int(p.byte()), p.fields(h.Fields)
		return p.done(h.Check)
	case KindTrailers:
		fr.trailers = p.fields(fr.trailers)
		f.End, f.Trailers = true, fr.trailers
		return p.done(func() error { return f.Trailers.Check(0) })
	default:
		f.End, f.Refusal = true, &fr.refusal
		f.Refusal.Reason, f.Refusal.Owner = crossingv1.Reason(p.uvarint(1<<31-1)), p.string()
		return p.done(f.Refusal.check)
	}
}

// text is the payload of a frame of that kind as a text.
func (fr *FrameReader) text(k Kind) string {
	last := &fr.texts[0]
	if k == KindTrailers {
		last = &fr.texts[1]
	}
	text := Again(*last, fr.payload)
	if len(text) <= mostPayload {
		*last = text
	}
	return text
}

// check refuses a reason that this gateway does not know and an owner that is
// not a plain name: both end in answers and records.
func (r *Refusal) check() error {
	if _, known := crossingv1.Reason_name[int32(r.Reason)]; !known || r.Reason == crossingv1.Reason_REASON_UNSPECIFIED {
		return fmt.Errorf("reason %d is not known", r.Reason)
	}
	if len(r.Owner) > maxOwner || !ValidValue(r.Owner) {
		return fmt.Errorf("owner %.40q is not a name", r.Owner)
	}
	return nil
}
