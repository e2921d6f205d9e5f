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
	if len(h.Method) > maxMethod || !IsToken(h.Method) {
		return fmt.Errorf("method %.20q is not a token of at most %d bytes", h.Method, maxMethod)
	}
	if h.Scheme != "" && h.Scheme != "http" && h.Scheme != "https" {
		return fmt.Errorf("scheme %.20q is neither http nor https", h.Scheme)
	}
	if err := CheckAuthority(h.Authority); err != nil {
		return err
	}
	if err := h.checkPath(); err != nil {
		return err
	}
	if h.Fields.Has("host") || h.Fields.Has("transfer-encoding") {
		return errors.New("a host or transfer-encoding field stands beside what says the same")
	}
	if _, _, err := h.Fields.ContentLength(); err != nil {
		return err
	}
	return h.Fields.Check(len(h.Method) + len(h.Authority) + len(h.Path))
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
	if _, _, err := h.Fields.ContentLength(); err != nil {
		return err
	}
	return h.Fields.Check(0)
}

// Check says what is not well formed in fields that stand beside others bytes
// of the same head.
func (f Fields) Check(others int) error {
	if len(f) > MaxFields {
		return fmt.Errorf("%w: %d fields, at most %d", ErrTooLarge, len(f), MaxFields)
	}
	size := others
	for i := range f {
		if !ValidName(f[i].Name) {
			return fmt.Errorf("field name %.40q is not a lower-case token", f[i].Name)
		}
		if !ValidValue(f[i].Value) {
			return fmt.Errorf("the value of field %.40q has control characters or outer space", f[i].Name)
		}
		size += len(f[i].Name) + len(f[i].Value) + 4
	}
	if size > MaxHeadBytes {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxHeadBytes)
	}
	return nil
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
		if n, err = decimal(f[i].Value); err != nil {
			return 0, false, err
		}
		known = true
	}
	return n, known, nil
}

func decimal(s string) (int64, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("content-length %.30q is not decimal", s)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("content-length %.30q is not a length", s)
	}
	return n, nil
}

// ValidName says that s is a field name as kept here: a token of RFC 9110
// 5.6.2 in lower case.
func ValidName(s string) bool {
	return IsToken(s) && strings.IndexFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' }) < 0
}

// ValidValue says that s is a field value: no control character but HTAB, no
// space at either end (RFC 9110 5.5).
func ValidValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' && c != '\t') || c == 0x7f {
			return false
		}
	}
	return s == strings.Trim(s, " \t")
}

// IsToken says that s is a token of RFC 9110 5.6.2, in any case.
func IsToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// CheckAuthority says what is wrong with HOST, HOST:PORT or [IPv6]:PORT. A
// user is refused, and so is everything that a resolver or a log could read in
// two ways.
func CheckAuthority(s string) error {
	host, port, err := SplitAuthority(s)
	if err != nil {
		return err
	}
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '+' {
			return fmt.Errorf("authority %.80q: port %.10q is not one of 1 to 65535", s, port)
		}
	}
	if strings.Contains(host, ":") {
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() || a.Zone() != "" {
			return fmt.Errorf("authority %.80q is not an IPv6 address in brackets", s)
		}
		return nil
	}
	for i := range len(host) {
		if c := host[i]; !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return fmt.Errorf("authority %.80q has the character %q", s, c)
		}
	}
	if host == "" || len(host) > maxHostLength {
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
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return fmt.Errorf("path %.40q has the byte %q", s, c)
		}
	}
	path, _, _ := strings.Cut(s, "?")
	plain, err := unescape(path)
	if err != nil {
		return err
	}
	for segment := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." {
			return fmt.Errorf("path %.40q has a dot segment", s)
		}
	}
	return nil
}

// unescape decodes %HH. It refuses what decodes to a control character.
func unescape(path string) (string, error) {
	if !strings.Contains(path, "%") {
		return path, nil
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return "", fmt.Errorf("path %.40q has a bad percent-encoding", path)
			}
			n, _ := strconv.ParseUint(path[i+1:i+3], 16, 8)
			c, i = byte(n), i+2
		}
		if c < ' ' || c == 0x7f {
			return "", fmt.Errorf("path %.40q has an encoded control character", path)
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
