package transfer

import (
	"math"
	"strconv"
	"strings"
)

// contentRange is what a Content-Range says (RFC 9110 14.4).
type contentRange struct {
	first, last int64 // of the bytes, inclusive; first is -1 if none are there
	size        int64 // of the whole, -1 if not told
}

func (r contentRange) length() int64 { return r.last - r.first + 1 }

// parseContentRange reads "bytes FIRST-LAST/SIZE", where SIZE may be "*", or
// "bytes */SIZE".
func parseContentRange(s string) (r contentRange, ok bool) {
	if !prefixFold(s, "bytes ") {
		return r, false
	}
	span, size, ok := strings.Cut(s[len("bytes "):], "/")
	if !ok {
		return r, false
	}
	if span == "*" {
		r = contentRange{first: -1, last: -1, size: parsePosition(size)}
		return r, r.size >= 0
	}
	if r, ok = parseSpan(span); !ok || size == "*" {
		return r, ok
	}
	r.size = parsePosition(size)
	return r, r.size > r.last
}

// parseSpan reads "FIRST-LAST", as registries write it.
func parseSpan(s string) (r contentRange, ok bool) {
	first, last, ok := strings.Cut(s, "-")
	r = contentRange{parsePosition(first), parsePosition(last), -1}
	return r, ok && r.first >= 0 && r.last >= r.first
}

// parsePosition reads decimal digits, less than the largest int64, so that a
// position can be made a length; -1 if they are none.
func parsePosition(s string) int64 {
	if s == "" || s[0] == '+' || s[0] == '-' {
		return -1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n == math.MaxInt64 {
		return -1
	}
	return n
}

// parseRange reads a Range (RFC 9110 14.2): "bytes=FIRST-LAST", "bytes=FIRST-",
// whose last is -1, or "bytes=-LENGTH", whose first is -1 and whose last is the
// length; n is how many there are, of which r is the last, or 0 if it is malformed.
func parseRange(s string) (r contentRange, n int) {
	if !prefixFold(s, "bytes=") {
		return r, 0
	}
	for spec := range strings.SplitSeq(s[len("bytes="):], ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue // a list may have empty elements (RFC 9110 5.6.1.2)
		}
		var ok bool
		if r, ok = parseSpec(spec); !ok {
			return r, 0
		}
		n++
	}
	return r, n
}

func parseSpec(s string) (r contentRange, ok bool) {
	first, last, ok := strings.Cut(s, "-")
	r = contentRange{parsePosition(first), parsePosition(last), -1}
	switch {
	case !ok || r.first < 0 && first != "" || r.last < 0 && last != "":
		return r, false
	case first == "" || last == "":
		return r, first != last
	}
	return r, r.last >= r.first
}
