package jsonscan

// number is how far a number was read.
type number struct {
	part part
	size int
}

// part is the place in a number of what was read last.
type part uint8

const (
	none part = iota // nothing of a number
	minus
	zero // a first digit that no other may follow
	whole
	point
	fraction
	exponent // the letter
	sign
	power
)

// follows has the part that a byte behind a part belongs to, by "0", another
// digit, ".", "e" and a sign (RFC 8259, section 6).
var follows = [...][5]part{
	minus:    {zero, whole},
	zero:     {none, none, point, exponent},
	whole:    {whole, whole, point, exponent},
	point:    {fraction, fraction},
	fraction: {fraction, fraction, none, exponent},
	exponent: {power, power, none, none, sign},
	sign:     {power, power},
	power:    {power, power},
}

// after is the part that a byte behind p belongs to.
func (p part) after(c byte) part {
	switch c {
	case '0':
		return follows[p][0]
	case '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return follows[p][1]
	case '.':
		return follows[p][2]
	case 'e', 'E':
		return follows[p][3]
	case '+', '-':
		return follows[p][4]
	}
	return none
}

// digits says that any number of digits may follow.
func (p part) digits() bool { return p == whole || p == fraction || p == power }

// beginNumber takes the first byte of a number.
func (s *Scanner) beginNumber(c byte) error {
	part := minus
	if c != '-' {
		if part = minus.after(c); part == none {
			return syntax("not a value")
		}
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
	for p = p[:min(len(p), MaxNumber-s.digits.size+1)]; n < len(p); {
		next := s.digits.part.after(p[n])
		if next == none {
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
	if p := s.digits.part; p != zero && !p.digits() {
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
