// Package jcs writes JSON in its one canonical form: the JSON Canonicalization
// Scheme, RFC 8785. It is our own because libraries insert keys into lists: for
// ten thousand workloads that takes a second. The schemas of a policy have no
// fractions, so integers are the only numbers, but for texts of others: see Canonical.
//
// One invariant: two values that are the same JSON come to the same bytes.
package jcs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// Append appends a JSON value as json.Decoder gives it with UseNumber. It fails on
// numbers that are not integers.
func Append(b []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return fmt.Appendf(b, "%t", v), nil
	case string:
		return appendString(b, v), nil
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return nil, fmt.Errorf("number %s is not an integer", v)
		}
		return append(b, v...), nil
	case []any:
		b = append(b, '[')
		for i := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = Append(b, v[i]); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		return appendObject(b, v)
	}
	return nil, fmt.Errorf("no JSON value: %T", v)
}

func appendObject(b []byte, object map[string]any) ([]byte, error) {
	var err error
	b = append(b, '{')
	for i, k := range slices.SortedFunc(maps.Keys(object), compareUTF16) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		if b, err = Append(b, object[k]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// compareUTF16 orders keys by their UTF-16 code units (RFC 8785 section 3.2.3).
func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// appendString escapes what RFC 8785 section 3.2.2.2 says and nothing else.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\t':
			b = append(b, `\t`...)
		case '\n':
			b = append(b, `\n`...)
		case '\f':
			b = append(b, `\f`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			if c < 0x20 {
				b = fmt.Appendf(b, `\u%04x`, c)
			} else {
				b = append(b, c)
			}
		}
	}
	return append(b, '"')
}
