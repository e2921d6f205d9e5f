// Package wire reads and writes protobuf's wire format by tables of fields, strictly: what
// a table does not know is refused, at any depth. It is written from protobuf's
// specification of the encoding, and shares no code with the library that gateways use.
//
// The one invariant: what it has read it has read whole. No byte of a message is passed
// over, and a length that a message tells takes no memory before the bytes are there.
package wire

import (
	"fmt"
	"strings"
)

// kind of a field's values.
type kind uint8

const (
	kindUint32 kind = iota
	kindUint64
	kindInt32
	kindInt64
	kindBool
	kindEnum
	kindText
	kindBytes
	kindMessage
)

// Field is one field of a message.
type Field struct {
	number   uint32
	name     string // as in JSON
	kind     kind
	repeated bool
	optional bool     // what came is there, be it the default value
	of       *Schema  // of a message
	values   []string // of an enumeration, by number
}

// Schema is the table of a message's fields.
type Schema struct {
	name   string
	fields []Field
	place  []int8 // by number: the place in fields, or -1
	check  func(m *Message) error
	text   func(m *Message) string // what it is in JSON, if it is no object
}

// New is the table of a message. Fields are in the order of their numbers. It panics if
// they are not.
func New(name string, fields ...Field) *Schema {
	s := &Schema{name: name, fields: fields}
	last := uint32(0)
	for at, f := range fields {
		if f.number <= last || f.number > 64 {
			panic(fmt.Sprintf("%s: field %d after %d", name, f.number, last))
		}
		for last = f.number; len(s.place) < int(last); {
			s.place = append(s.place, -1)
		}
		s.place = append(s.place, int8(at))
	}
	return s
}

// Name is the message's name.
func (s *Schema) Name() string { return s.name }

// Uint32 is a field of a number of 32 bits.
func Uint32(number uint32, name string) Field {
	return Field{number: number, name: name, kind: kindUint32}
}

// Uint64 is a field of a number of 64 bits.
func Uint64(number uint32, name string) Field {
	return Field{number: number, name: name, kind: kindUint64}
}

// Int64 is a field of a number of 64 bits that may be below 0.
func Int64(number uint32, name string) Field {
	return Field{number: number, name: name, kind: kindInt64}
}

// Bool is a field that is true or false.
func Bool(number uint32, name string) Field {
	return Field{number: number, name: name, kind: kindBool}
}

// Text is a field of text, which is UTF-8.
func Text(number uint32, name string) Field {
	return Field{number: number, name: name, kind: kindText}
}

// Bytes is a field of bytes.
func Bytes(number uint32, name string) Field {
	return Field{number: number, name: name, kind: kindBytes}
}

// Enum is a field of an enumeration, whose values have the numbers from 0 on.
func Enum(number uint32, name string, values []string) Field {
	return Field{number: number, name: name, kind: kindEnum, values: values}
}

// Sub is a field of a message.
func Sub(number uint32, name string, of *Schema) Field {
	return Field{number: number, name: name, kind: kindMessage, of: of}
}

// Many is a field of any number of such values.
func Many(f Field) Field {
	f.repeated = true
	return f
}

// Optional is a field of a number of which zero is a value: if it came, it is there.
func Optional(f Field) Field {
	f.optional = true
	return f
}

func (s *Schema) find(number uint64) (place int) {
	if number >= uint64(len(s.place)) {
		return -1
	}
	return int(s.place[number])
}

// named is the place of a field. It panics if there is none: then the program is wrong.
func (s *Schema) named(name string) int {
	for at := range s.fields {
		if s.fields[at].name == name {
			return at
		}
	}
	panic(fmt.Sprintf("%s has no field %q", s.name, name))
}

// Describe is the table in words: a line for each field, deeper ones behind theirs.
func (s *Schema) Describe() string { return s.describe("") }

func (s *Schema) describe(indent string) string {
	var b strings.Builder
	for _, f := range s.fields {
		fmt.Fprintf(&b, "%s%d %s", indent, f.number, f.name)
		if f.repeated {
			b.WriteString(" repeated")
		}
		if f.optional {
			b.WriteString(" optional")
		}
		switch f.kind {
		case kindMessage:
			fmt.Fprintf(&b, " %s\n%s", f.of.name, f.of.describe(indent+" "))
			continue
		case kindEnum:
			for n, v := range f.values {
				fmt.Fprintf(&b, " %s=%d", v, n)
			}
		default:
			b.WriteString(" " + kinds[f.kind])
		}
		b.WriteString("\n")
	}
	return b.String()
}

var kinds = [...]string{
	kindUint32: "uint32", kindUint64: "uint64", kindInt32: "int32", kindInt64: "int64", kindBool: "bool", kindText: "string", kindBytes: "bytes",
}
