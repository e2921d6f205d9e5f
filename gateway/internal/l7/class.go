package l7

// class is what a byte may stand in, as bits.
type class uint8

const (
	token      class = 1 << iota // RFC 9110 5.6.2
	upper                        // a letter that a name here does not have
	text                         // a field value: all but control characters; HTAB too (RFC 9110 5.5)
	host                         // a host name, or an IPv4 address
	visible                      // a path or query: visible ASCII, no "#"
	digit                        // decimal
	hexDigit                     // after a percent sign
	outerSpace                   // SP and HTAB, which stand at neither end of a value
)

// classes has the class of each byte.
var classes = classify()

func classify() (of [256]class) {
	set := func(bytes string, c class) {
		for i := range len(bytes) {
			of[bytes[i]] |= c
		}
	}
	const upperCase, lowerCase, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
	set(upperCase+lowerCase+digits+"!#$%&'*+-.^_`|~", token)
	set(upperCase, upper)
	set(upperCase+lowerCase+digits+"-._", host)
	set(digits, digit)
	set(digits+"abcdefABCDEF", hexDigit)
	set("\t ", outerSpace)
	set("\t", text)
	for c := ' '; c < 0x100; c++ {
		if c != 0x7f {
			of[c] |= text
		}
		if c > ' ' && c < 0x7f && c != '#' {
			of[c] |= visible
		}
	}
	return of
}

// all says that s has only bytes of the class.
func all(s string, c class) bool {
	for i := range len(s) {
		if classes[s[i]]&c == 0 {
			return false
		}
	}
	return true
}

// IsToken says that s is a token of RFC 9110 5.6.2, in any case.
func IsToken(s string) bool { return s != "" && all(s, token) }

// ValidName says that s is a field name as kept here: a token of RFC 9110
// 5.6.2 in lower case.
func ValidName(s string) bool {
	for i := range len(s) {
		if classes[s[i]]&(token|upper) != token {
			return false
		}
	}
	return s != ""
}

// ValidValue says that s is a field value: no control character but HTAB, no
// space at either end (RFC 9110 5.5).
func ValidValue(s string) bool {
	return s == "" || all(s, text) && (classes[s[0]]|classes[s[len(s)-1]])&outerSpace == 0
}

// LowerName makes a field name out of b, in place: it says false, and may have
// changed some of b, if b is no token.
func LowerName(b []byte) bool {
	for i, c := range b {
		switch classes[c] & (token | upper) {
		case token:
		case token | upper:
			b[i] = c + 'a' - 'A'
		default:
			return false
		}
	}
	return len(b) > 0
}

// ValidText says that b has no control character but HTAB: it is a field value,
// perhaps with space around it.
func ValidText(b []byte) bool {
	for _, c := range b {
		if classes[c]&text == 0 {
			return false
		}
	}
	return true
}
