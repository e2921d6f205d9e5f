package crossing

import (
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// The functions of this file append fields as the protobuf library encodes them,
// which leaves out those that have their default value. The library finds the
// fields of a message by itself; to name them takes a part of the time.

var errUTF8 = errors.New("a text is not UTF-8")

// appendText appends a text, which is UTF-8.
func appendText(b []byte, n protowire.Number, s string) []byte {
	switch {
	case s == "":
		return b
	case n < 1<<4 && len(s) < 1<<7: // nearly always: a byte each
		b = append(b, byte(n)<<3|byte(protowire.BytesType), byte(len(s)))
	default:
		b = protowire.AppendTag(b, n, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(len(s)))
	}
	return append(b, s...)
}

func appendNumber(b []byte, n protowire.Number, v uint64) []byte {
	switch {
	case v == 0:
		return b
	case n < 1<<4 && v < 1<<7:
		return append(b, byte(n)<<3|byte(protowire.VarintType), byte(v))
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

// appendSigned appends an int32, an int64 or an enumeration: a negative one has
// ten bytes.
func appendSigned(b []byte, n protowire.Number, v int64) []byte { return appendNumber(b, n, uint64(v)) }

func appendFlag(b []byte, n protowire.Number, v bool) []byte {
	return appendNumber(b, n, protowire.EncodeBool(v))
}

// appendOptional appends a number that is there, be it 0.
func appendOptional[N uint32 | uint64](b []byte, n protowire.Number, v *N) []byte {
	if v == nil {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(*v))
}

// appendTexts appends all texts of a list, empty ones too.
func appendTexts(b []byte, n protowire.Number, all []string) []byte {
	for _, s := range all {
		b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	return b
}

// enter begins a message within a message. It gives where its fields begin.
func enter(b []byte, n protowire.Number) (longer []byte, began int) {
	if n < 1<<4 {
		b = append(b, byte(n)<<3|byte(protowire.BytesType))
	} else {
		b = protowire.AppendTag(b, n, protowire.BytesType)
	}
	b = append(b, 0) // most are shorter than 128 bytes
	return b, len(b)
}

// leave ends the message whose fields begin there.
func leave(b []byte, began int) []byte {
	n := len(b) - began
	if n < 1<<7 {
		b[began-1] = byte(n)
		return b
	}
	var room [binary.MaxVarintLen64]byte
	more := protowire.SizeVarint(uint64(n)) - 1
	b = append(b, room[:more]...)
	copy(b[began+more:], b[began:])
	protowire.AppendVarint(b[:began-1], uint64(n))
	return b
}
