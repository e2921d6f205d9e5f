package protoscan

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	name uint8 = iota
	count
	inner
	innerName
	list
	size
)

var fields = &Schema{
	1: {Kind: Text, Is: name},
	2: {Kind: Varint, Is: count},
	3: {Kind: Varints, Is: list},
	4: {Kind: Length, Is: size},
	5: {Kind: Nested, Is: inner, In: &Schema{1: {Kind: Text, Is: innerName}}},
}

// heard writes down what it is told.
type heard []string

func (h *heard) Value(is uint8, text []byte, number uint64) error {
	*h = append(*h, fmt.Sprintf("%d %s %d", is, text, number))
	return nil
}

// ending is also told where messages end.
type ending struct{ heard }

func (e *ending) End(is uint8) { e.heard = append(e.heard, fmt.Sprintf("end of %d", is)) }

func TestEnds(t *testing.T) {
	message := text(5, text(1, "a")+text(7, "b")) + text(1, "m") + text(5, "")
	for piece := range 4 {
		var s Scanner
		var e ending
		s.Reset(fields, &e)
		for p := range slices.Chunk([]byte(message), piece+1) {
			if _, err := s.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if want := (heard{"2  0", "3 a 0", "end of 2", "0 m 0", "2  0", "end of 2"}); s.End() != nil || !slices.Equal(e.heard, want) {
			t.Errorf("in pieces of %d: %q, want %q", piece+1, e.heard, want)
		}
	}
}

// scan reads a message in pieces of that size.
func scan(message []byte, piece int) (heard, error) {
	var s Scanner
	var h heard
	s.Reset(fields, &h)
	for p := range slices.Chunk(message, piece) {
		if _, err := s.Write(p); err != nil {
			return h, err
		}
	}
	return h, s.End()
}

// text is a field that has one.
func text(number Number, s string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), s))
}

func varint(number Number, n uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), n))
}

func TestScan(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		want          heard // nil where it is malformed
	}{
		{"empty", "", heard{}},
		{"values", text(1, "m") + varint(2, 300) + text(1, ""), heard{"0 m 0", "1  300", "0  0"}},
		{"what nobody asked for", text(9, strings.Repeat("x", 100)) + varint(10, 1<<63) + "\x5d1234" + "\x6112345678" + text(1, "m"), heard{"0 m 0"}},
		{"nested", text(5, text(1, "a")+text(7, "b")) + text(5, "") + text(1, "m"), heard{"2  0", "3 a 0", "2  0", "0 m 0"}},
		{"numbers", varint(3, 300) + text(3, "\xac\x02\x01") + text(3, "") + varint(3, 7), heard{"4  300", "4  300", "4  1", "4  7"}},
		{"a length", text(4, "") + text(4, "\xff\x00") + text(4, strings.Repeat("x", MaxText+1)), heard{"5  0", "5  2", fmt.Sprintf("5  %d", MaxText+1)}},
		{"an overlong number", "\x10\x80\x80\x00", heard{"1  0"}},
		{"no message", "x", nil},
		{"cut in a tag", "\x80", nil},
		{"cut in a text", text(1, "model")[:4], nil},
		{"cut in what is skipped", "\x5d123", nil},
		{"field 0", "\x00\x00", nil},
		{"a tag of 33 bits", "\x80\x80\x80\x80\x10\x00", nil},
		{"a number of 65 bits", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", nil},
		{"a group", "\x0b\x0c", nil},
		{"a group of nobody's", "\x5b\x5c", nil},
		{"a text that is a number", varint(1, 4), nil},
		{"a number that is a text", text(2, "4"), nil},
		{"a message that is a number", varint(5, 4), nil},
		{"packed numbers cut", text(3, "\xac\x02\x81") + varint(2, 1), nil},
		{"packed numbers of 65 bits", text(3, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), nil},
		{"numbers beyond the message", text(3, "\x01\x02")[:3], nil},
		{"numbers of a fixed width", "\x1d1234", nil},
		{"a length that is a number", varint(4, 4), nil},
		{"a text that is none", text(1, "\xff"), nil},
		{"a text that is too long", text(1, strings.Repeat("x", MaxText+1)), nil},
		{"a length beyond the message", text(5, "\x0a\x05a") + "bcde", nil},
		{"a tag beyond the message", text(5, "\x0a"), nil},
		{"a length that overflows", "\x4a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", nil},
	} {
		for piece := range 4 {
			got, err := scan([]byte(tt.message), piece+1)
			if (tt.want == nil) != errors.Is(err, ErrMalformed) || tt.want != nil && !slices.Equal(got, tt.want) {
				t.Errorf("%s, in pieces of %d: %q, %v, want %q", tt.name, piece+1, got, err, tt.want)
			}
		}
	}
}

// second reads a message by protowire alone: false if it is malformed.
func second(message []byte, of *Schema) (h heard, ok bool) {
	for len(message) > 0 {
		number, wire, n := protowire.ConsumeTag(message)
		if n < 0 || wire == protowire.StartGroupType {
			return h, false
		}
		field, asked := (*of)[number]
		size := protowire.ConsumeFieldValue(number, wire, message[n:])
		if size < 0 {
			return h, false
		}
		value := message[n : n+size]
		message = message[n+size:]
		if !asked {
			continue
		}
		if field.Kind == Varint || field.Kind == Varints && wire == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(value)
			h = append(h, fmt.Sprintf("%d  %d", field.Is, v))
			continue
		}
		b, _ := protowire.ConsumeBytes(value)
		if field.Kind == Length {
			h = append(h, fmt.Sprintf("%d  %d", field.Is, len(b)))
			continue
		}
		if field.Kind == Varints {
			for len(b) > 0 {
				v, n := protowire.ConsumeVarint(b)
				if n < 0 {
					return h, false
				}
				h, b = append(h, fmt.Sprintf("%d  %d", field.Is, v)), b[n:]
			}
			continue
		}
		if field.Kind == Text {
			h = append(h, fmt.Sprintf("%d %s 0", field.Is, b))
			continue
		}
		within, ok := second(b, field.In)
		if h = append(append(h, fmt.Sprintf("%d  0", field.Is)), within...); !ok {
			return h, false
		}
	}
	return h, true
}

// FuzzScan: what is accepted, another parser accepts too, and it finds the same; and that
// does not depend on the pieces.
func FuzzScan(f *testing.F) {
	f.Add([]byte(text(1, "m")+varint(2, 3)+text(5, text(1, "a"))+"\x5d1234"), 1)
	f.Add([]byte(text(3, "\xac\x02\x01")+varint(3, 9)+text(4, "\x00\xff")), 1)
	f.Add([]byte(text(5, text(5, "x"))+text(9, strings.Repeat("y", 40))), 7)
	f.Fuzz(func(t *testing.T, message []byte, piece int) {
		whole, err := scan(message, max(len(message), 1))
		cut, cutErr := scan(message, max(piece%64, 1))
		if (err == nil) != (cutErr == nil) || err == nil && !slices.Equal(whole, cut) {
			t.Fatalf("whole: %q, %v; in pieces of %d: %q, %v", whole, err, piece, cut, cutErr)
		}
		if err != nil {
			return
		}
		if want, ok := second(message, fields); !ok || !slices.Equal(whole, want) {
			t.Fatalf("%q, another parser finds %q, %v", whole, want, ok)
		}
	})
}

// BenchmarkSkip: what do a megabyte of a tensor take?
func BenchmarkSkip(b *testing.B) {
	message := []byte(text(1, "m") + text(9, string(bytes.Repeat([]byte("x"), 1<<20))))
	var s Scanner
	var h nothing
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(fields, h)
		for p := range slices.Chunk(message, 32<<10) {
			s.Write(p)
		}
		if err := s.End(); err != nil {
			b.Fatal(err)
		}
	}
}

type nothing struct{}

func (nothing) Value(uint8, []byte, uint64) error { return nil }
