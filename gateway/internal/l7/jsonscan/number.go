package jsonscan

// number is how far a number was read.
type number struct {
	part part
	size int
}

// part is the place in a number of what was read last.
type part uint8

const (
	minus part = iota
	zero       // a first digit that no other may follow
	whole
	point
	fraction
	exponent // the letter
	sign
	power
)

// complete says that a number may end here.
func (p part) complete() bool { return p == zero || p.digits() }

// digits says that any number of digits may follow.
func (p part) digits() bool { return p == whole || p == fraction || p == power }

// after is the part that a byte behind p belongs to; ok is false if none may
// come (RFC 8259, section 6).
func (p part) after(c byte) (next part, ok bool) {
	switch {
	case c >= '0' && c <= '9':
		return p.digit(c)
	case c == '.':
		return point, p == zero || p == whole
	case c == 'e' || c == 'E':
		return exponent, p == zero || p == whole || p == fraction
	case c == '+' || c == '-':
		return sign, p == exponent
	}
	return p, false
}

func (p part) digit(c byte) (next part, ok bool) {
	switch p {
	case minus:
		if c == '0' {
			return zero, true
		}
		return whole, true
	case zero:
		return p, false
	case point:
		return fraction, true
	case exponent, sign:
		return power, true
	default:
		return p, true
	}
}

// beginNumber takes the first byte of a number.
func (s *Scanner) beginNumber(c byte) error {
	part := minus
	if c != '-' {
		if c < '0' || c > '9' {
			return syntax("not a value")
		}
		part, _ = minus.digit(c)
	}
	s.digits = number{part: part, size: 1}
	s.state = inNumber
	s.kept = s.kept[:0]
	if s.asked() {
		s.kept = append(s.kept, c)
	}
	return nil
}

// readNumber takes what belongs to a number, and ends it before what does not.
func (s *Scanner) readNumber(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		next, ok := s.digits.part.after(p[n])
		if !ok {
			break
		}
		s.digits.part = next
		n++
		for next.digits() && n < len(p) && p[n]-'0' <= 9 {
			n++
		}
	}
	if s.digits.size += n; s.digits.size > MaxNumber {
		return n, limit("a number is too long")
	}
	if s.asked() {
		s.kept = append(s.kept, p[:n]...)
	}
	if n == len(p) {
		return n, nil
	}
	return n, s.endNumber()
}

func (s *Scanner) endNumber() error {
	if !s.digits.part.complete() {
		return syntax("not a number")
	}
	s.valued()
	return s.tell(Number, s.kept)
}

// literal is what is still to come of true, false or null.
type literal struct {
	rest string
	kind Kind
}

// beginLiteral goes on behind the first byte of a literal.
func (s *Scanner) beginLiteral(name string, kind Kind) {
	s.literal = literal{name[1:], kind}
	s.state = inLiteral
}

func (s *Scanner) readLiteral(p []byte) (int, error) {
	l := &s.literal
	for i, c := range p {
		if c != l.rest[0] {
			return i, syntax("not a value")
		}
		if l.rest = l.rest[1:]; l.rest == "" {
			s.valued()
			return i + 1, s.tell(l.kind, nil)
		}
	}
	return len(p), nil
}
