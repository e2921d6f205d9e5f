package jsonscan

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// text is how far a string was read.
type text struct {
	key  bool
	keep bool // it may be asked for: it is decoded into kept
	over bool // it is longer than any key that was asked for
	size int  // bytes written so far

	more, low, high byte // continuation bytes to come in a character, and what the next one may be

	unit, digits uint16 // a \u escape's value and digits so far
	lead         uint16 // the first half of a surrogate pair, whose second must follow
}

func (s *Scanner) beginKey() {
	n := s.around()
	s.text = text{key: true, keep: n != nil && n.members != nil}
	s.kept = s.kept[:0]
	s.state = inText
}

func (s *Scanner) beginText() {
	s.text = text{keep: s.asked() && !s.next.glance}
	s.kept = s.kept[:0]
	s.state = inText
}

// readText takes what stands in a string as it is, or the sign that ends this.
func (s *Scanner) readText(p []byte) (int, error) {
	c := p[0]
	if s.text.lead != 0 && c != '\\' {
		return 0, ambiguous("half a surrogate pair")
	}
	p = p[:min(len(p), s.room()+1)]
	if s.text.more > 0 || c >= utf8.RuneSelf {
		n, err := s.text.readRunes(p)
		if err != nil {
			return n, err
		}
		return n, s.keep(p[:n])
	}
	n := s.text.passes(p)
	if err := s.keep(p[:n]); err != nil || n == len(p) {
		return n, err
	}
	switch c = p[n]; {
	case c == '"':
		return n + 1, s.endString()
	case c == '\\':
		s.state = inEscape
		return n + 1, s.grow(1)
	case c < ' ':
		return n, syntax("a control character in a string")
	}
	return n, nil
}

// short is how long a string may be that is read at once.
const short = 128

// readQuoted takes a key or a text that has nothing to decode and is all there, as most
// are, and behind a key its colon. It begins any other.
func (s *Scanner) readQuoted(p []byte) (int, error) {
	n := 1 + plain(p[1:min(len(p), short)])
	whole := n < len(p) && p[n] == '"'
	switch isKey := s.state >= wantKey; {
	case !isKey && whole:
		return n + 1, s.endText(p[1:n:n], n-1)
	case !isKey:
		s.beginText()
	case whole:
		if err := s.endKey(p[1:n]); err != nil || n+1 == len(p) || p[n+1] != ':' {
			return n + 1, err
		}
		s.state = wantValue
		return n + 2, nil
	default:
		s.beginKey()
	}
	return 1, nil
}

// passes is how many bytes at the start of p are plain, or are escapes with one letter
// if nobody needs to know of what: most texts have some.
func (t *text) passes(p []byte) int {
	n := plain(p)
	for !t.keep && n+1 < len(p) && p[n] == '\\' && strings.IndexByte(`"\/bfnrt`, p[n+1]) >= 0 {
		n += 2
		n += plain(p[n:])
	}
	return n
}

// plain is how many bytes at the start of p stand for themselves in a string
// and are ASCII. It looks at eight at once: the lowest byte whose top bit is
// set in the sum is the first that does not; borrows only run upwards from it.
func plain(p []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(p)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(p[n:])
		quote, escape := w^('"'*ones), w^('\\'*ones)
		if m := (w | (w - ' '*ones) | (quote - ones) | (escape - ones)) & tops; m != 0 {
			return n + bits.TrailingZeros64(m)/8
		}
	}
	for ; n < len(p); n++ {
		if c := p[n]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			break
		}
	}
	return n
}

// readRunes takes characters beyond ASCII, the last of which may be cut short
// by the end of p (RFC 3629, section 4).
func (t *text) readRunes(p []byte) (int, error) {
	for i, c := range p {
		switch {
		case t.more > 0:
			if c < t.low || c > t.high {
				return i, syntax("not UTF-8")
			}
			t.more--
			t.low, t.high = 0x80, 0xbf
		case c < utf8.RuneSelf:
			return i, nil
		default:
			if t.more, t.low, t.high = leading(c); t.more == 0 {
				return i, syntax("not UTF-8")
			}
		}
	}
	return len(p), nil
}

// leading is how many bytes follow the first one of a character, 0 if none
// begins so, and what the second may be: no overlong form, no surrogate,
// nothing beyond U+10FFFF.
func leading(c byte) (more, low, high byte) {
	switch {
	case c < 0xc2 || c > 0xf4:
		return 0, 0, 0
	case c < 0xe0:
		return 1, 0x80, 0xbf
	case c == 0xe0:
		return 2, 0xa0, 0xbf
	case c == 0xed:
		return 2, 0x80, 0x9f
	case c < 0xf0:
		return 2, 0x80, 0xbf
	case c == 0xf0:
		return 3, 0x90, 0xbf
	case c == 0xf4:
		return 3, 0x80, 0x8f
	default:
		return 3, 0x80, 0xbf
	}
}

// escape takes the byte behind a backslash.
func (s *Scanner) escape(c byte) error {
	if s.text.lead != 0 && c != 'u' {
		return ambiguous("half a surrogate pair")
	}
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		s.text.unit, s.text.digits = 0, 0
		s.state = inHex
		return s.grow(1)
	default:
		return syntax("no such escape")
	}
	s.state = inText
	if err := s.grow(1); err != nil {
		return err
	}
	return s.decoded([]byte{c})
}

// readHex takes the four digits of a \u escape.
func (s *Scanner) readHex(p []byte) (int, error) {
	for i, c := range p {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return i, syntax("not a hex digit")
		}
		s.text.unit = s.text.unit<<4 | uint16(c)
		if s.text.digits++; s.text.digits == 4 {
			s.state = inText
			if err := s.grow(4); err != nil {
				return i + 1, err
			}
			return i + 1, s.unit()
		}
	}
	return len(p), nil
}

// unit takes a UTF-16 code unit. Only where somebody may have asked does it
// matter whether it is half a pair: there are writers that cut texts so.
func (s *Scanner) unit() error {
	t := &s.text
	if !t.keep {
		return nil
	}
	r := rune(t.unit)
	switch {
	case t.lead != 0:
		if r&^0x3ff != 0xdc00 {
			return ambiguous("half a surrogate pair")
		}
		r, t.lead = (rune(t.lead)-0xd800)<<10+(r-0xdc00)+0x10000, 0
	case r&^0x3ff == 0xd800:
		t.lead = t.unit
		return nil
	case r&^0x3ff == 0xdc00:
		return ambiguous("half a surrogate pair")
	case r == 0:
		return ambiguous("U+0000") // for some, a text ends here
	}
	var room [utf8.UTFMax]byte
	return s.decoded(room[:utf8.EncodeRune(room[:], r)])
}

// room is how many bytes may be read of a string before it passes a bound.
func (s *Scanner) room() int {
	switch t := &s.text; {
	case t.key:
		return MaxKey - t.size
	case t.keep:
		return min(MaxString-t.size, MaxValue-len(s.kept))
	default:
		return MaxString - t.size
	}
}

// grow counts bytes of a string as they are written.
func (s *Scanner) grow(n int) error {
	s.text.size += n
	if s.text.key && s.text.size > MaxKey {
		return limit("a key is too long")
	}
	if s.text.size > MaxString {
		return limit("a string is too long")
	}
	return nil
}

// keep takes what stands in a string as it is.
func (s *Scanner) keep(b []byte) error {
	if err := s.grow(len(b)); err != nil {
		return err
	}
	return s.decoded(b)
}

// decoded keeps what a string says, if somebody may have asked for it.
func (s *Scanner) decoded(b []byte) error {
	t := &s.text
	if !t.keep || t.over {
		return nil
	}
	if t.key {
		if t.over = len(s.kept)+len(b) > s.paths.keyRoom; !t.over {
			s.kept = append(s.kept, b...)
		}
		return nil
	}
	if len(s.kept)+len(b) > MaxValue {
		return limit("a value that matters is too long")
	}
	s.kept = append(s.kept, b...)
	return nil
}

// endString takes a key or a text that was read in pieces.
func (s *Scanner) endString() error {
	switch t := &s.text; {
	case !t.key:
		return s.endText(s.kept, t.size)
	case t.keep && !t.over:
		return s.endKey(s.kept)
	}
	s.state, s.next = wantColon, nil
	if s.paths.any {
		if n := s.around(); n != nil {
			s.next = n.any
		}
	}
	return nil
}

// endText tells of a text, which is of that size as it is written.
func (s *Scanner) endText(value []byte, size int) error {
	s.valued()
	if !s.asked() {
		return nil
	}
	if s.next.glance {
		s.kept = append(s.kept[:0], "."[:min(size, 1)]...)
		value = s.kept
	}
	return s.tell(String, value)
}

// endKey finds who asked for the member of that key.
func (s *Scanner) endKey(key []byte) error {
	s.state, s.next = wantColon, nil
	n := s.around()
	if n == nil {
		return nil
	}
	if s.next = n.any; n.members == nil {
		return nil
	}
	m, alike := n.find(key)
	if alike {
		return ambiguous("a key that matters is spelt in another case")
	}
	if m == nil {
		return nil
	}
	if s.seen&m.bit != 0 {
		return ambiguous("a key that matters comes twice")
	}
	s.seen |= m.bit
	s.next = m
	return nil
}
