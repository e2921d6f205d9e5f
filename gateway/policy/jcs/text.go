package jcs

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Canonical is the canonical form of a JSON text, fractions and all. It fails where
// there is none: where a key comes twice in an object, or a text is not UTF-8 or has
// half a surrogate pair, or a number is beyond those of IEEE 754 (RFC 7493, I-JSON).
func Canonical(text []byte) ([]byte, error) {
	switch {
	case !utf8.Valid(text):
		return nil, errors.New("not UTF-8")
	case !json.Valid(text):
		return nil, errors.New("not JSON")
	}
	r := reader{text}
	return r.value(make([]byte, 0, len(text)))
}

// reader reads a JSON text that is well formed.
type reader struct{ rest []byte }

// next is the first byte that is no space.
func (r *reader) next() byte {
	r.rest = bytes.TrimLeft(r.rest, " \t\r\n")
	return r.rest[0]
}

// take takes as many bytes.
func (r *reader) take(n int) []byte {
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// value appends the canonical form of the value that comes next.
func (r *reader) value(b []byte) ([]byte, error) {
	switch r.next() {
	case '{':
		return r.object(b)
	case '[':
		return r.array(b)
	case '"':
		s, err := unquote(r.text())
		return appendString(b, s), err
	case 'f':
		return append(b, r.take(len("false"))...), nil
	case 't', 'n':
		return append(b, r.take(len("null"))...), nil
	default:
		end := bytes.IndexAny(r.rest, " \t\r\n,]}")
		if end < 0 {
			end = len(r.rest)
		}
		return appendNumber(b, r.take(end))
	}
}

// text takes a string with its quotes.
func (r *reader) text() []byte {
	end := 1
	for r.rest[end] != '"' {
		if r.rest[end] == '\\' {
			end++
		}
		end++
	}
	return r.take(end + 1)
}

func (r *reader) array(b []byte) ([]byte, error) {
	for r.rest[0] != ']' { // at the opening bracket, then at commas
		b = append(b, r.take(1)...)
		if r.next() == ']' {
			break
		}
		var err error
		if b, err = r.value(b); err != nil {
			return nil, err
		}
		r.next()
	}
	return append(b, r.take(1)...), nil
}

// member is one of an object: its key, and where it stands in what was written.
type member struct {
	key      string
	from, to int
}

func (r *reader) object(b []byte) ([]byte, error) {
	var members []member
	start := len(b)
	for r.rest[0] != '}' { // at the opening brace, then at commas
		if r.take(1); r.next() == '}' {
			break
		}
		key, err := unquote(r.text())
		if err != nil {
			return nil, err
		}
		r.next()
		r.take(1) // the colon
		from := len(b)
		if b, err = r.value(append(appendString(b, key), ':')); err != nil {
			return nil, err
		}
		members = append(members, member{key, from, len(b)})
		r.next()
	}
	r.take(1)
	return sorted(b, start, members)
}

// sorted puts the members that b has from start on in order, with what is between and
// around them.
func sorted(b []byte, start int, members []member) ([]byte, error) {
	slices.SortFunc(members, func(a, b member) int { return compareKeys(a.key, b.key) })
	written := slices.Clone(b[start:])
	b = append(b[:start], '{')
	for i, m := range members {
		if i > 0 {
			if m.key == members[i-1].key {
				return nil, errors.New("a key comes twice")
			}
			b = append(b, ',')
		}
		b = append(b, written[m.from-start:m.to-start]...)
	}
	return append(b, '}'), nil
}

// unquote is what a string says that stands in a text with its quotes.
func unquote(text []byte) (s string, err error) {
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text[1 : len(text)-1]), nil
	}
	if halfPair(text) {
		return "", errors.New("half a surrogate pair")
	}
	err = json.Unmarshal(text, &s)
	return s, err
}

// compareKeys orders keys as compareUTF16 does, and encodes none. It differs from the
// order of UTF-8 only where one has a surrogate pair and the other a character from
// U+E000 to U+FFFF.
func compareKeys(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if pair := x >= 0xf0; x >= 0xee && y >= 0xee && pair != (y >= 0xf0) {
			x, y = y, x
		}
		return cmp.Compare(x, y)
	}
	return cmp.Compare(len(a), len(b))
}

// appendNumber writes a number as ECMAScript does (RFC 8785 section 3.2.2.3), which
// is how encoding/json writes them too, but for minus zero.
func appendNumber(b, n []byte) ([]byte, error) {
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return nil, fmt.Errorf("number %.32s is beyond those of IEEE 754", n)
	}
	if f == 0 {
		return append(b, '0'), nil
	}
	text, err := json.Marshal(f)
	return append(b, text...), err
}

// halfPair says that an escape in a JSON text is half a surrogate pair, which
// encoding/json reads as U+FFFD.
func halfPair(text []byte) bool {
	high := false // the escape before was the first half
	for i := 0; i < len(text); {
		n, unit := escaped(text[i:])
		low := unit >= 0xdc00 && unit < 0xe000
		if low != high {
			return true
		}
		high = unit >= 0xd800 && unit < 0xdc00
		i += n
	}
	return high
}

// escaped is how long the escape or byte is that text begins with, and its UTF-16 code
// unit if it has four digits.
func escaped(text []byte) (n int, unit uint64) {
	switch {
	case text[0] != '\\':
		return 1, 0
	case text[1] == 'u':
		unit, _ = strconv.ParseUint(string(text[2:6]), 16, 16) // it is well formed
		return 6, unit
	}
	return 2, 0
}
