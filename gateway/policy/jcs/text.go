package jcs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Canonical is the canonical form of a JSON text, fractions and all. It fails where
// there is none: where a key comes twice in an object, or a text is not UTF-8 or has
// half a surrogate pair, or a number is beyond those of IEEE 754 (RFC 7493, I-JSON).
// How deep a text may be nested its caller must have looked at.
func Canonical(text []byte) ([]byte, error) {
	switch {
	case !utf8.Valid(text):
		return nil, errors.New("not UTF-8")
	case halfPair(text):
		return nil, errors.New("half a surrogate pair")
	}
	t := texts{json.NewDecoder(bytes.NewReader(text))}
	t.UseNumber()
	b, err := t.value(make([]byte, 0, len(text)))
	if err != nil {
		return nil, err
	}
	if _, err := t.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something behind the end")
	}
	return b, nil
}

// texts reads a JSON text, token by token.
type texts struct{ *json.Decoder }

// value appends the canonical form of the value that comes next.
func (t texts) value(b []byte) ([]byte, error) {
	token, err := t.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return t.object(b)
		}
		return t.array(b)
	case json.Number:
		return appendNumber(b, v)
	}
	return Append(b, token)
}

func (t texts) array(b []byte) ([]byte, error) {
	b = append(b, '[')
	for first := true; t.More(); first = false {
		if !first {
			b = append(b, ',')
		}
		var err error
		if b, err = t.value(b); err != nil {
			return nil, err
		}
	}
	_, err := t.Token()
	return append(b, ']'), err
}

// member is one of an object, in canonical form.
type member struct {
	order []uint16 // its key
	text  []byte   // key and value
}

func (t texts) object(b []byte) ([]byte, error) {
	var members []member
	for t.More() {
		token, err := t.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string) // the decoder takes nothing else
		text, err := t.value(append(appendString(nil, key), ':'))
		if err != nil {
			return nil, err
		}
		members = append(members, member{utf16.Encode([]rune(key)), text})
	}
	if _, err := t.Token(); err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b member) int { return slices.Compare(a.order, b.order) })
	b = append(b, '{')
	for i, m := range members {
		if i > 0 {
			if slices.Equal(m.order, members[i-1].order) {
				return nil, errors.New("a key comes twice")
			}
			b = append(b, ',')
		}
		b = append(b, m.text...)
	}
	return append(b, '}'), nil
}

// appendNumber writes a number as ECMAScript does (RFC 8785 section 3.2.2.3), which
// is how encoding/json writes them too, but for minus zero.
func appendNumber(b []byte, n json.Number) ([]byte, error) {
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil {
		return nil, fmt.Errorf("number %.32s is beyond those of IEEE 754", n)
	}
	if f == 0 {
		return append(b, '0'), nil
	}
	text, err := json.Marshal(f)
	return append(b, text...), err
}

// halfPair says that an escape in a JSON text is half a surrogate pair, which the
// decoder reads as U+FFFD.
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
	case len(text) >= 6 && text[1] == 'u':
		unit, _ = strconv.ParseUint(string(text[2:6]), 16, 16) // else it is no JSON
		return 6, unit
	}
	return 2, 0
}
