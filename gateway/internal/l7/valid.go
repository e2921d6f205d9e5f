package l7

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a head, the same on every side that reads one.
const (
	MaxHeadBytes  = 64 << 10 // the request line or status and all fields
	MaxFields     = 256      // fields in one head, and in one set of trailers
	maxMethod     = 64
	maxHostLength = 253 // RFC 1035 2.3.4, as text
)

// ErrTooLarge says that a head is beyond MaxHeadBytes or MaxFields.
var ErrTooLarge = errors.New("head too large")

// Check says what is not well formed in a request head, wherever it came
// from. A head that passes can be written on any HTTP version without saying
// something else there. It wraps ErrTooLarge where a bound is passed.
func (h *RequestHead) Check() error {
	if err := h.CheckLine(); err != nil {
		return err
	}
	return h.Fields.check(len(h.Method)+len(h.Authority)+len(h.Path), true)
}

// CheckLine says what is not well formed in what a request head has beside its
// fields.
func (h *RequestHead) CheckLine() error {
	if len(h.Method) > maxMethod || !IsToken(h.Method) {
		return fmt.Errorf("method %.20q is not a token of at most %d bytes", h.Method, maxMethod)
	}
	if h.Scheme != "" && h.Scheme != "http" && h.Scheme != "https" {
		return fmt.Errorf("scheme %.20q is neither http nor https", h.Scheme)
	}
	if err := CheckAuthority(h.Authority); err != nil {
		return err
	}
	return h.checkPath()
}

func (h *RequestHead) checkPath() error {
	switch {
	case h.Method == "CONNECT":
		if h.Path != "" || h.Scheme != "" {
			return errors.New("a CONNECT has neither path nor scheme")
		}
		return nil
	case h.Path == "*":
		if h.Method != "OPTIONS" {
			return errors.New(`the target "*" is for OPTIONS alone`)
		}
		return nil
	}
	return CheckPath(h.Path)
}

// Check says what is not well formed in a response head.
func (h *ResponseHead) Check() error {
	if h.Status < 200 || h.Status > 999 {
		return fmt.Errorf("status %d is not that of a final answer", h.Status)
	}
	return h.Fields.check(0, false)
}

// Check says what is not well formed in fields that stand beside others bytes
// of the same head.
func (f Fields) Check(others int) error {
	_, err := f.checkEach(others)
	return err
}

// check is Check for the fields of a head, which say how long the content is. In
// a request nothing may stand beside what says the same.
func (f Fields) check(others int, request bool) error {
	seen, err := f.checkEach(others)
	switch {
	case err != nil:
		return err
	case request && (seen.host || seen.coding):
		return errors.New("a host or transfer-encoding field stands beside what says the same")
	case !seen.length:
		return nil
	}
	_, _, err = f.ContentLength()
	return err
}

// framing is which fields there are that say where a message goes or ends.
type framing struct{ host, coding, length bool }

func (f Fields) checkEach(others int) (seen framing, err error) {
	if len(f) > MaxFields {
		return seen, fmt.Errorf("%w: %d fields, at most %d", ErrTooLarge, len(f), MaxFields)
	}
	size := others
	for i := range f {
		if !ValidName(f[i].Name) {
			return seen, fmt.Errorf("field name %.40q is not a lower-case token", f[i].Name)
		}
		if !ValidValue(f[i].Value) {
			return seen, fmt.Errorf("the value of field %.40q has control characters or outer space", f[i].Name)
		}
		switch f[i].Name {
		case "host":
			seen.host = true
		case "transfer-encoding":
			seen.coding = true
		case "content-length":
			seen.length = true
		}
		size += len(f[i].Name) + len(f[i].Value) + 4
	}
	if size > MaxHeadBytes {
		return seen, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxHeadBytes)
	}
	return seen, nil
}

// ContentLength is the length that the fields declare; known is false if they
// declare none. Several, or one that is not decimal, are an error: two readers
// could take different ones (RFC 9112 6.3).
func (f Fields) ContentLength() (n int64, known bool, err error) {
	for i := range f {
		if f[i].Name != "content-length" {
			continue
		}
		if known {
			return 0, false, errors.New("more than one content-length")
		}
		if n, err = ParseLength(f[i].Value); err != nil {
			return 0, false, err
		}
		known = true
	}
	return n, known, nil
}

// ParseLength is the value of a content-length: decimal digits alone.
func ParseLength(s string) (int64, error) {
	if !all(s, digit) {
		return 0, fmt.Errorf("content-length %.30q is not decimal", s)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("content-length %.30q is not a length", s)
	}
	return n, nil
}

// CheckAuthority says what is wrong with HOST, HOST:PORT or [IPv6]:PORT. A
// user is refused, and so is everything that a resolver or a log could read in
// two ways.
func CheckAuthority(s string) error {
	name, port, err := SplitAuthority(s)
	if err != nil {
		return err
	}
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '+' {
			return fmt.Errorf("authority %.80q: port %.10q is not one of 1 to 65535", s, port)
		}
	}
	if strings.Contains(name, ":") {
		if a, err := netip.ParseAddr(name); err != nil || !a.Is6() || a.Zone() != "" {
			return fmt.Errorf("authority %.80q is not an IPv6 address in brackets", s)
		}
		return nil
	}
	for i := range len(name) {
		if c := name[i]; classes[c]&host == 0 {
			return fmt.Errorf("authority %.80q has the character %q", s, c)
		}
	}
	if name == "" || len(name) > maxHostLength {
		return fmt.Errorf("authority %.80q has no host of 1 to %d bytes", s, maxHostLength)
	}
	return nil
}

// SplitAuthority takes HOST:PORT apart; port is "" if there is none. The host
// of an IPv6 address is without its brackets.
func SplitAuthority(s string) (host, port string, err error) {
	rest := ""
	if strings.Contains(s, "@") {
		return "", "", errors.New("the authority has user information, which is not repeated here")
	}
	if strings.HasPrefix(s, "[") {
		var closed bool
		if host, rest, closed = strings.Cut(s[1:], "]"); !closed || !strings.Contains(host, ":") {
			return "", "", fmt.Errorf("authority %.80q is not an IPv6 address in brackets", s)
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, rest = s[:i], s[i:]
	} else {
		host = s
	}
	if rest == "" {
		return host, "", nil
	}
	if port = strings.TrimPrefix(rest, ":"); rest[0] != ':' || port == "" || strings.Contains(port, ":") {
		return "", "", fmt.Errorf("authority %.80q is not HOST or HOST:PORT", s)
	}
	return host, port, nil
}

// CheckPath says what is wrong with a path and query in origin form. Dot
// segments are refused, however they are escaped: a caller removes them before
// it asks (RFC 3986 5.2.4), and a server that does it later would be asked for
// another path than the one that was decided on.
func CheckPath(s string) error {
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("path %.40q does not begin with a slash", s)
	}
	for i := range len(s) {
		if c := s[i]; classes[c]&visible == 0 {
			return fmt.Errorf("path %.40q has the byte %q", s, c)
		}
	}
	path, _, _ := strings.Cut(s, "?")
	var segment dots
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if i+2 >= len(path) || classes[path[i+1]]&classes[path[i+2]]&hexDigit == 0 {
				return fmt.Errorf("path %.40q has a bad percent-encoding", s)
			}
			c, i = fromHex(path[i+1])<<4|fromHex(path[i+2]), i+2
			if c < ' ' || c == 0x7f {
				return fmt.Errorf("path %.40q has an encoded control character", s)
			}
		}
		if segment.next(c) {
			return fmt.Errorf("path %.40q has a dot segment", s)
		}
	}
	if segment.dot() {
		return fmt.Errorf("path %.40q has a dot segment", s)
	}
	return nil
}

// dots looks for dot segments in a path that comes byte by byte, decoded. A
// backslash parts segments too, and what follows a semicolon is a parameter:
// there are servers that take them so.
type dots struct {
	count int  // of the dots that are all there is of the segment
	other bool // the segment has something else
}

// next takes a byte, and says whether it ends the name of a dot segment.
func (d *dots) next(c byte) bool {
	switch c {
	case '.':
		d.count++
	case '/', '\\':
		found := d.dot()
		*d = dots{}
		return found
	case ';':
		found := d.dot()
		d.other = true
		return found
	default:
		d.other = true
	}
	return false
}

func (d *dots) dot() bool { return !d.other && (d.count == 1 || d.count == 2) }

// fromHex is the value of a hex digit.
func fromHex(c byte) byte {
	if c > '9' {
		return c&^0x20 - 'A' + 10
	}
	return c - '0'
}
