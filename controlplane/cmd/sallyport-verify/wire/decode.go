package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxText is the longest text that a message may have, in bytes
// (gateway/crossing/FORMAT.md, "Frame").
const MaxText = 4096

// Wire types (protobuf encoding, "Message Structure"). Groups and fixed widths are in no
// message here.
const (
	typeVarint = 0
	typeBytes  = 2
)

var (
	errShort  = errors.New("it ends in mid-field")
	errVarint = errors.New("a number has more than 64 bits")
)

// Message is one that was decoded. What it has of text and bytes are parts of what it was
// decoded from. It may be decoded into again, and then keeps its memory.
type Message struct {
	schema *Schema
	slots  []slot
}

// slot is a field's value.
type slot struct {
	set  bool // it came; of what is repeated, at least once
	n    uint64
	b    []byte
	more *more
}

// more is what few fields have.
type more struct {
	sub  *Message
	nums []uint64
	list [][]byte
	subs []*Message
}

// NewMessage is one without any field.
func NewMessage(s *Schema) *Message {
	return &Message{schema: s, slots: make([]slot, len(s.fields))}
}

// Decode decodes a message of that table.
func Decode(s *Schema, data []byte) (*Message, error) {
	m := NewMessage(s)
	return m, m.Decode(data)
}

// Decode decodes in place of what was there. After an error, what is there is none.
func (m *Message) Decode(data []byte) error {
	m.reset()
	if err := m.merge(data); err != nil {
		return fmt.Errorf("%s: %w", m.schema.name, err)
	}
	return m.verify()
}

func (m *Message) reset() {
	for at := range m.slots {
		s := &m.slots[at]
		if !s.set {
			continue
		}
		s.set, s.n, s.b = false, 0, nil
		if s.more != nil {
			s.more.nums, s.more.list, s.more.subs = s.more.nums[:0], s.more.list[:0], s.more.subs[:0]
		}
	}
}

// merge takes fields up. One that comes again takes the place of what came before; a
// message is merged with it.
func (m *Message) merge(data []byte) error {
	for len(data) > 0 {
		tag, n := varint(data)
		if n <= 0 {
			return errVarintOr(n)
		}
		data = data[n:]
		at := m.schema.find(tag >> 3)
		if at < 0 {
			return fmt.Errorf("it has a field %d, which is not known", tag>>3)
		}
		rest, err := m.value(at, int(tag&7), data)
		if err != nil {
			return fmt.Errorf("%s: %w", m.schema.fields[at].name, err)
		}
		data = rest
	}
	return nil
}

// value takes up one value of a field.
func (m *Message) value(at, wireType int, data []byte) (rest []byte, err error) {
	f, s := &m.schema.fields[at], &m.slots[at]
	numeric := f.kind < kindText
	switch {
	case wireType == typeVarint && numeric:
		v, n := varint(data)
		if n <= 0 {
			return nil, errVarintOr(n)
		}
		return data[n:], s.number(f, v)
	case wireType == typeBytes && (!numeric || f.repeated):
		size, n := varint(data)
		if n <= 0 {
			return nil, errVarintOr(n)
		}
		if size > uint64(len(data)-n) {
			return nil, errShort
		}
		end := n + int(size) //nolint:gosec // it is at most len(data)
		return data[end:], s.bytes(f, data[n:end])
	}
	return nil, fmt.Errorf("it has the wire type %d", wireType)
}

func (s *slot) rest() *more {
	if s.more == nil {
		s.more = new(more)
	}
	return s.more
}

// number takes up a number, as its kind has it.
func (s *slot) number(f *Field, v uint64) error {
	switch f.kind {
	case kindUint32:
		v = uint64(uint32(v))
	case kindInt32:
		v = uint64(int64(int32(v)))
	case kindBool:
		v = min(v, 1)
	case kindEnum:
		if v = uint64(int64(int32(v))); v >= uint64(len(f.values)) {
			return fmt.Errorf("the value %d is not known", int64(v))
		}
	}
	s.set, s.n = true, v
	if f.repeated {
		r := s.rest()
		r.nums = append(r.nums, v)
	}
	return nil
}

// bytes takes up what has a length: a text, bytes, a message, or many numbers.
func (s *slot) bytes(f *Field, data []byte) error {
	switch f.kind {
	case kindMessage:
		return s.message(f, data)
	case kindText:
		if len(data) > MaxText {
			return fmt.Errorf("%d bytes, the most is %d", len(data), MaxText)
		}
		if !utf8.Valid(data) {
			return errors.New("it is not UTF-8")
		}
	case kindBytes:
	default:
		return s.packed(f, data)
	}
	s.set, s.b = true, data
	if f.repeated {
		r := s.rest()
		r.list = append(r.list, data)
	}
	return nil
}

func (s *slot) packed(f *Field, data []byte) error {
	for len(data) > 0 {
		v, n := varint(data)
		if n <= 0 {
			return errVarintOr(n)
		}
		if err := s.number(f, v); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (s *slot) message(f *Field, data []byte) error {
	r := s.rest()
	was := s.set
	s.set = true
	if f.repeated {
		sub := r.next(f.of)
		sub.reset()
		return sub.merge(data)
	}
	if r.sub == nil {
		r.sub = NewMessage(f.of)
	} else if !was {
		r.sub.reset()
	}
	return r.sub.merge(data)
}

// next is one message more, with memory that is there already if there is some.
func (r *more) next(of *Schema) *Message {
	if n := len(r.subs); n < cap(r.subs) {
		r.subs = r.subs[:n+1]
		if r.subs[n] == nil {
			r.subs[n] = NewMessage(of)
		}
		return r.subs[n]
	}
	sub := NewMessage(of)
	r.subs = append(r.subs, sub)
	return sub
}

// verify holds what no single field shows.
func (m *Message) verify() error {
	if m.schema.check != nil {
		return m.schema.check(m)
	}
	for at := range m.slots {
		s := &m.slots[at]
		if !s.set || s.more == nil || m.schema.fields[at].kind != kindMessage {
			continue
		}
		if m.schema.fields[at].repeated {
			for _, sub := range s.more.subs {
				if err := sub.verify(); err != nil {
					return err
				}
			}
		} else if err := s.more.sub.verify(); err != nil {
			return err
		}
	}
	return nil
}

// varint decodes a number of up to 64 bits in groups of seven, the lowest first. n is how
// many bytes it has; 0 if it does not end, and less if it has more bits.
func varint(data []byte) (v uint64, n int) {
	for at, b := range data {
		if at == 9 && b > 1 {
			return 0, -1
		}
		if b < 0x80 {
			return v | uint64(b)<<(7*at), at + 1
		}
		v |= uint64(b&0x7f) << (7 * at)
	}
	return 0, 0
}

func errVarintOr(n int) error {
	if n < 0 {
		return errVarint
	}
	return errShort
}
