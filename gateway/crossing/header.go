package crossing

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// AppendHeader appends a header's protobuf encoding, as a tunnel carries it. It
// keeps nothing of it. After an error, which is of a text that is not UTF-8, it
// has appended nothing.
func AppendHeader(b []byte, h *crossingv1.Header) ([]byte, error) {
	longer, err := appendHeader(b, h)
	if err != nil {
		return b, fmt.Errorf("encode the header of crossing %.64q: %w", h.GetId(), err)
	}
	return longer, nil
}

func appendHeader(b []byte, h *crossingv1.Header) ([]byte, error) {
	if !plain(h) {
		return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, h)
	}
	b = appendText(b, 1, h.GetId())
	b = appendText(b, 2, h.GetRun())
	b = appendNumber(b, 3, h.GetSequence())
	b = appendText(b, 4, h.GetTraceparent())
	b = appendText(b, 5, h.GetTracestate())
	b = appendText(b, 6, h.GetSource())
	b = appendText(b, 7, h.GetSourceSvid())
	b = appendSigned(b, 8, int64(h.GetAttach()))
	b = appendText(b, 9, h.GetDestination())
	b = appendText(b, 10, h.GetWorkload())
	b = appendText(b, 11, h.GetService())
	b = appendPolicy(b, 12, h.GetPolicy())
	b = appendText(b, 13, h.GetIntent())
	b = appendSigned(b, 14, int64(h.GetKind()))
	b = appendTime(b, 15, h.GetOpened())
	b = appendText(b, 16, h.GetProof())
	return appendText(b, 17, h.GetLabel()), nil
}

// plain says that a header is one that appendHeader can encode by itself: its
// texts are UTF-8, and the schema knows all its fields.
func plain(h *crossingv1.Header) bool {
	for _, s := range [...]string{
		h.GetId(), h.GetRun(), h.GetTraceparent(), h.GetTracestate(), h.GetSource(), h.GetSourceSvid(),
		h.GetDestination(), h.GetWorkload(), h.GetService(), h.GetPolicy().GetRevision(), h.GetIntent(), h.GetProof(),
		h.GetLabel(),
	} {
		if !utf8.ValidString(s) {
			return false
		}
	}
	var c fields
	c.known(h)
	if h.GetPolicy() != nil {
		c.known(h.GetPolicy())
	}
	if h.GetOpened() != nil {
		c.known(h.GetOpened())
	}
	return c.fault == nil
}

// Header is a crossing's header and all that it may hold, in one piece of memory.
type Header struct {
	crossingv1.Header
	policy crossingv1.PolicyRef
	opened timestamppb.Timestamp
}

// Reset makes the header empty, and what it held with it.
func (h *Header) Reset() { *h = Header{} }

// SetPolicy sets the policy.
func (h *Header) SetPolicy(serial uint64, revision string) {
	h.policy.Serial, h.policy.Revision = serial, revision
	h.Policy = &h.policy
}

// SetOpened sets the time of opening.
func (h *Header) SetOpened(t time.Time) {
	h.opened.Seconds, h.opened.Nanos = t.Unix(), int32(t.Nanosecond())
	h.Opened = &h.opened
}

var errHeader = errors.New("a header's encoding is not valid")

// UnmarshalHeader decodes a header. It takes any valid encoding of proto3, and
// leaves out what the schema does not know. The texts of a header are parts of
// one string as long as b: who keeps one of them keeps it all.
func UnmarshalHeader(b []byte) (*crossingv1.Header, error) {
	h := new(Header)
	r := reading{b: b, end: len(b), all: string(b)}
	r.header(h)
	if r.fault != nil {
		return nil, r.fault
	}
	return &h.Header, nil
}

// Tags of fields: their numbers, and how their values are encoded.
const (
	varint = uint64(protowire.VarintType)
	sized  = uint64(protowire.BytesType)
)

func (r *reading) header(h *Header) {
	for r.next() {
		switch r.tag {
		case 1<<3 | sized:
			h.Id = r.text()
		case 2<<3 | sized:
			h.Run = r.text()
		case 3<<3 | varint:
			h.Sequence = r.number()
		case 4<<3 | sized:
			h.Traceparent = r.text()
		case 5<<3 | sized:
			h.Tracestate = r.text()
		case 6<<3 | sized:
			h.Source = r.text()
		case 7<<3 | sized:
			h.SourceSvid = r.text()
		case 8<<3 | varint:
			h.Attach = crossingv1.Attach(r.number())
		case 9<<3 | sized:
			h.Destination = r.text()
		case 10<<3 | sized:
			h.Workload = r.text()
		case 11<<3 | sized:
			h.Service = r.text()
		case 12<<3 | sized:
			h.Policy = &h.policy
			r.policy(h.Policy)
		case 13<<3 | sized:
			h.Intent = r.text()
		case 14<<3 | varint:
			h.Kind = crossingv1.Header_Kind(r.number())
		case 15<<3 | sized:
			h.Opened = &h.opened
			r.time(h.Opened)
		case 16<<3 | sized:
			h.Proof = r.text()
		case 17<<3 | sized:
			h.Label = r.text()
		default:
			r.skip()
		}
	}
}

func (r *reading) policy(p *crossingv1.PolicyRef) {
	outer := r.enter()
	for r.next() {
		switch r.tag {
		case 1<<3 | varint:
			p.Serial = r.number()
		case 2<<3 | sized:
			p.Revision = r.text()
		default:
			r.skip()
		}
	}
	r.end = outer
}

func (r *reading) time(t *timestamppb.Timestamp) {
	outer := r.enter()
	for r.next() {
		switch r.tag {
		case 1<<3 | varint:
			t.Seconds = int64(r.number())
		case 2<<3 | varint:
			t.Nanos = int32(r.number())
		default:
			r.skip()
		}
	}
	r.end = outer
}

// reading reads the fields of a message, in any order, and of one that comes
// again the last. After a fault there are none.
type reading struct {
	b       []byte
	all     string // the same, for texts to be parts of
	at, end int    // of what is left of the message
	tag     uint64 // of the field that is next
	fault   error
}

// next reads the tag of another field, if there is one.
func (r *reading) next() bool {
	if r.at == r.end || r.fault != nil {
		return false
	}
	r.tag = r.number()
	number := r.tag >> 3
	if number < uint64(protowire.MinValidNumber) || number > uint64(protowire.MaxValidNumber) {
		r.fault = errHeader
	}
	return r.fault == nil
}

func (r *reading) number() uint64 {
	v, n := protowire.ConsumeVarint(r.b[r.at:r.end])
	r.passed(n)
	return v
}

// passed goes on behind n bytes; a negative n is a fault.
func (r *reading) passed(n int) {
	if n < 0 {
		r.fault = errHeader
		return
	}
	r.at += n
}

// size reads a length, and says whether there is as much.
func (r *reading) size() (int, bool) {
	n := r.number()
	if r.fault == nil && n > uint64(r.end-r.at) {
		r.fault = errHeader
	}
	return int(n), r.fault == nil
}

func (r *reading) text() string {
	n, ok := r.size()
	if !ok {
		return ""
	}
	s := r.all[r.at : r.at+n]
	r.at += n
	if !utf8.ValidString(s) {
		r.fault = errUTF8
	}
	return s
}

// enter goes into a message within: what is left is its fields until end is set
// back to what enter gives.
func (r *reading) enter() (outer int) {
	outer = r.end
	if n, ok := r.size(); ok {
		r.end = r.at + n
	}
	return outer
}

// skip passes over a value that the schema does not know.
func (r *reading) skip() {
	r.passed(protowire.ConsumeFieldValue(protowire.Number(r.tag>>3), protowire.Type(r.tag&7), r.b[r.at:r.end]))
}
