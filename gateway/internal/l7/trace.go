package l7

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

const traceparentLength = 55 // 00-<32 hex digits>-<16>-<2>

// Traceparent is a W3C trace context (level 1): a trace, a span in it, and
// whether it is sampled. The zero value is not valid.
type Traceparent struct {
	trace [16]byte
	span  [8]byte
	flags byte
}

// ParseTraceparent reads a traceparent field; ok is false if it is not valid,
// and the trace has to be begun anew. It is continued, never trusted.
func ParseTraceparent(s string) (t Traceparent, ok bool) {
	if len(s) < traceparentLength || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Traceparent{}, false
	}
	var version, flags [1]byte
	for _, part := range [...]struct {
		to   []byte
		from string
	}{{version[:], s[:2]}, {t.trace[:], s[3:35]}, {t.span[:], s[36:52]}, {flags[:], s[53:55]}} {
		if !decodeLowerHex(part.to, part.from) {
			return Traceparent{}, false
		}
	}
	// A later version may be longer, after another dash; ff is never valid.
	tail := s[traceparentLength:]
	if version[0] == 0xff || tail != "" && (version[0] == 0 || tail[0] != '-') {
		return Traceparent{}, false
	}
	t.flags = flags[0] & 1
	return t, t.trace != [16]byte{} && t.span != [8]byte{}
}

func decodeLowerHex(to []byte, from string) bool {
	if strings.ToLower(from) != from {
		return false
	}
	_, err := hex.Decode(to, []byte(from))
	return err == nil
}

// NewTraceparent begins a sampled trace.
func NewTraceparent() Traceparent {
	t := Traceparent{flags: 1}
	fill(t.trace[:])
	fill(t.span[:])
	return t
}

// Child is a new span in the same trace.
func (t Traceparent) Child() Traceparent {
	fill(t.span[:])
	return t
}

// fill never leaves zeroes, which the standard forbids.
func fill(b []byte) {
	_, _ = rand.Read(b) // it never fails: crypto/rand ends the program instead
	b[0] |= 1
}

// AppendTo appends the field's value in version 00.
func (t Traceparent) AppendTo(b []byte) []byte {
	b = hex.AppendEncode(append(b, "00-"...), t.trace[:])
	b = hex.AppendEncode(append(b, '-'), t.span[:])
	return hex.AppendEncode(append(b, '-'), []byte{t.flags})
}

// String is what AppendTo appends.
func (t Traceparent) String() string {
	var b [traceparentLength]byte
	return string(t.AppendTo(b[:0]))
}

// TraceID is the trace's id, 32 hex digits.
func (t Traceparent) TraceID() string { return hex.EncodeToString(t.trace[:]) }

// SpanID is the span's id, 16 hex digits.
func (t Traceparent) SpanID() string { return hex.EncodeToString(t.span[:]) }

// Sampled says that the caller records the trace.
func (t Traceparent) Sampled() bool { return t.flags&1 == 1 }
