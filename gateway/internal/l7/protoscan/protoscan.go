// Package protoscan reads a protocol buffers message as it streams by, in pieces of any
// size, and tells of the values of fields that somebody asked for. It keeps nothing of the
// rest and decides nothing. It is strict where parsers differ: a field of another wire
// type than was asked for, which some skip, is an error, and so are groups and field
// numbers that there are not (protobuf.dev, Encoding).
package protoscan

import (
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of a message.
const (
	MaxDepth = 8       // messages within one another that are asked for
	MaxText  = 8 << 10 // bytes of one text that is asked for
)

// Kind is what a field has.
type Kind uint8

// The kinds of fields that can be asked for.
const (
	Text    Kind = iota // a string: valid UTF-8
	Varint              // an integer, or a boolean
	Varints             // any number of them, packed or not
	Nested              // a message
	Length              // a string or bytes, of which only the length counts
)

// Field is one that is asked for.
type Field struct {
	Kind Kind
	Is   uint8   // what it is, for the handler
	In   *Schema // of a Nested one
}

// Number is that of a field.
type Number = protowire.Number

// Schema is what is asked for in a message, by field number. It is immutable.
type Schema map[Number]Field

// Handler is told of values in the order of the message. What it returns ends the scan,
// if it is not nil.
type Handler interface {
	// Value is told of a Text, which is only good until the call returns, of a Varint, of
	// each of Varints, and of a Nested message and the bytes behind a Length where they begin.
	Value(is uint8, text []byte, number uint64) error
}

// Ender is a Handler that is also told where a Nested message ends.
type Ender interface {
	Handler
	End(is uint8)
}

// ErrMalformed says that it is no message, or one that parsers could take for two things.
var ErrMalformed = errors.New("no message that every parser takes alike")

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// state is what comes next.
type state uint8

const (
	inTag state = iota
	inVarint
	inLength
	inPacked  // varints behind one another
	inText    // which is kept
	inSkipped // bytes that nobody asked for
)

// level is a message that is being read.
type level struct {
	fields *Schema
	is     uint8
	end    uint64 // the offset of its end
}

// Scanner reads one message. It is an io.Writer whose errors are final. It is not safe for
// concurrent use.
type Scanner struct {
	handler Handler
	ender   Ender // the handler; nil if it is none
	err     error
	offset  uint64
	levels  [MaxDepth]level
	depth   int // of the level that is being read

	state state
	value uint64 // of the varint that is being read
	bits  uint   // of it
	field Field
	asked bool   // for the field
	left  uint64 // bytes of a text, of packed varints or of what is skipped
	kept  []byte
}

var _ io.Writer = (*Scanner)(nil)

// Reset makes it read another message.
func (s *Scanner) Reset(fields *Schema, h Handler) {
	ender, _ := h.(Ender)
	*s = Scanner{handler: h, ender: ender, kept: s.kept[:0]}
	s.levels[0] = level{fields: fields, end: math.MaxUint64}
}

// Write takes a piece of the message.
func (s *Scanner) Write(p []byte) (n int, err error) {
	for n < len(p) && s.err == nil {
		n += s.read(p[n:])
	}
	return n, s.err
}

// End says that the message is whole.
func (s *Scanner) End() error {
	if s.err == nil && (s.state != inTag || s.bits > 0 || s.depth > 0) {
		s.err = malformed("it ends too early")
	}
	return s.err
}

// read takes some of p, at least a byte, unless it fails.
func (s *Scanner) read(p []byte) int {
	n := 1
	switch s.state {
	case inTag, inVarint, inLength:
		s.offset++
		s.varint(p[0])
	case inPacked:
		s.offset++
		s.left--
		s.varint(p[0])
		s.unpacked()
	case inText, inSkipped:
		n = int(min(uint64(len(p)), s.left)) //nolint:gosec // at most len(p)
		s.offset += uint64(n)                //nolint:gosec // not negative
		if s.left -= uint64(n); s.state == inText {
			s.kept = append(s.kept, p[:n]...)
		}
		s.passed()
	}
	s.close()
	return n
}

// passed goes on behind a text, or what was skipped.
func (s *Scanner) passed() {
	if s.left > 0 {
		return
	}
	if s.state == inText {
		s.tell(s.kept, 0)
	}
	s.state = inTag
}

// unpacked goes on behind packed varints.
func (s *Scanner) unpacked() {
	switch {
	case s.left > 0 || s.err != nil:
	case s.bits > 0:
		s.err = malformed("a number goes beyond its field")
	default:
		s.state = inTag
	}
}

// close ends the messages whose end was met, and fails beyond one.
func (s *Scanner) close() {
	for s.err == nil && s.depth > 0 && s.offset >= s.levels[s.depth].end {
		if s.offset > s.levels[s.depth].end || s.state != inTag || s.bits > 0 {
			s.err = malformed("a field goes beyond its message")
			return
		}
		if s.ender != nil {
			s.ender.End(s.levels[s.depth].is)
		}
		s.depth--
	}
}

// varint takes a byte of one.
func (s *Scanner) varint(b byte) {
	const most = 64
	if s.bits == most-1 && b > 1 {
		s.err = malformed("a number has more than 64 bits")
		return
	}
	s.value |= uint64(b&0x7f) << s.bits
	if s.bits += 7; b >= 0x80 {
		return
	}
	value := s.value
	s.value, s.bits = 0, 0
	switch s.state {
	case inTag:
		s.tag(value)
	case inVarint:
		s.state = inTag
		if s.asked {
			s.tell(nil, value)
		}
	case inPacked:
		s.tell(nil, value)
	default:
		s.length(value)
	}
}

// tag begins a field.
func (s *Scanner) tag(value uint64) {
	number, wire := Number(value>>3), protowire.Type(value&7) //nolint:gosec // looked at next
	if value > math.MaxUint32 || number < protowire.MinValidNumber {
		s.err = malformed("a field has no number that there is")
		return
	}
	s.field, s.asked = (*s.levels[s.depth].fields)[number]
	if s.asked && !s.field.Kind.comes(wire) {
		s.err = malformed("a field is of another type")
		return
	}
	switch wire {
	case protowire.VarintType:
		s.state = inVarint
	case protowire.BytesType:
		s.state = inLength
	case protowire.Fixed32Type:
		s.skip(4)
	case protowire.Fixed64Type:
		s.skip(8)
	default:
		s.err = malformed("it has a group")
	}
}

// comes says that a field of that kind may have that wire type.
func (k Kind) comes(wire protowire.Type) bool {
	switch k {
	case Varint:
		return wire == protowire.VarintType
	case Varints:
		return wire == protowire.VarintType || wire == protowire.BytesType
	}
	return wire == protowire.BytesType
}

// length begins what has one.
func (s *Scanner) length(n uint64) {
	switch end := s.offset + n; {
	case end < s.offset || end > s.levels[s.depth].end:
		s.err = malformed("a field goes beyond its message")
	case !s.asked:
		s.skip(n)
	case s.field.Kind == Nested:
		s.nest(end)
	case s.field.Kind == Varints:
		s.state, s.left = inPacked, n
		s.unpacked()
	case s.field.Kind == Length:
		s.tell(nil, n)
		s.skip(n)
	case n > MaxText:
		s.err = fmt.Errorf("%w: a text that counts has more than %d bytes", ErrMalformed, MaxText)
	default:
		s.state, s.left, s.kept = inText, n, s.kept[:0]
		s.passed()
	}
}

func (s *Scanner) skip(n uint64) {
	s.state, s.left = inSkipped, n
	s.passed()
}

// nest begins a message within another.
func (s *Scanner) nest(end uint64) {
	if s.depth+1 == MaxDepth {
		s.err = malformed("it is nested too deep")
		return
	}
	s.state = inTag
	if s.tell(nil, 0); s.err == nil {
		s.depth++
		s.levels[s.depth] = level{s.field.In, s.field.Is, end}
	}
}

func (s *Scanner) tell(text []byte, number uint64) {
	if !utf8.Valid(text) {
		s.err = malformed("a text is no UTF-8")
		return
	}
	s.err = s.handler.Value(s.field.Is, text, number)
}
