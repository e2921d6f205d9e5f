// Package jsonscan reads a JSON text as it streams by, in pieces of any size,
// and tells of the values at places that somebody asked for. It keeps nothing
// of the rest, builds no document and decides nothing. It is strict where
// readers differ: what it accepts, encoding/json accepts, and where it tells of
// a value, no other reader finds another one there.
package jsonscan

import "io"

// Kind is what a value is.
type Kind uint8

// The kinds of RFC 8259, section 3.
const (
	Null Kind = iota
	False
	True
	Number
	String
	Array
	Object
)

// Handler is told of values that were asked for, in the order of the document.
// path is the index of the pointer given to Compile. text is a string's value
// with its escapes decoded, or a number as it is written; it is nil for others
// and only good until the call returns. Of a string that was only glanced at it is
// "" or ".", which stands for any other. Of an array or object it is told at the
// start. What it returns ends the scan, if it is not nil.
type Handler interface {
	Value(path int, kind Kind, text []byte) error
}

// Ender is a Handler that is also told where an array or object ends of whose
// start it was told.
type Ender interface {
	Handler
	End(path int) error
}

// Bounds of a document; each is on what is written, in bytes.
// Where a bound is passed does not depend on the pieces that a document comes in.
const (
	MaxDepth  = 256      // objects and arrays within one another
	MaxNumber = 1 << 10  // of one number
	MaxKey    = 64 << 10 // of one key
	MaxString = 64 << 20 // of one string, such as an image in Base64
	MaxValue  = 8 << 10  // of one string that was asked for, decoded
)

// state is what may come next.
type state uint8

const (
	wantValue   state = iota
	wantElement       // a value, or the end of an array that has none
	wantKey           // behind a comma
	wantMember        // a key, or the end of an object that has none
	wantColon
	wantComma // or the end of the array or object
	wantEnd   // nothing but space
	inText
	inEscape
	inHex
	inNumber
	inLiteral
)

// Scanner reads one document. It is an io.Writer whose errors are final. It is
// not safe for concurrent use.
type Scanner struct {
	paths   *Paths
	handler Handler
	ender   Ender // the handler; nil if it is none
	err     error
	offset  int64
	halts   bool // where the handler is told of something
	told    bool // it halts, and the handler was told of something

	state  state
	depth  int
	object [(MaxDepth + 63) / 64]uint64 // bit d-1: at depth d there is an object, not an array
	at     [maxSteps + 1]*node          // the node of the object or array at depth d; nil if nobody asked
	next   *node                        // the node of the value that comes next; nil if nobody asked
	seen   uint64                       // the nodes met in the objects around

	text    text
	digits  number
	literal literal
	kept    []byte // of a key or value that was asked for
}

// New makes a scanner that tells h of the values at p.
func New(p *Paths, h Handler) *Scanner {
	s := new(Scanner)
	s.Reset(p, h)
	return s
}

// Reset makes s as New does, for another document. It keeps its buffer.
func (s *Scanner) Reset(p *Paths, h Handler) {
	ender, _ := h.(Ender)
	*s = Scanner{paths: p, handler: h, ender: ender, next: &p.root, kept: s.kept[:0]}
}

// Offset is how many bytes were read.
func (s *Scanner) Offset() int64 { return s.offset }

// Whole says that the document has ended, whether or not something followed that
// may not. A number alone has no end of its own.
func (s *Scanner) Whole() bool { return s.state == wantEnd }

var _ io.Writer = (*Scanner)(nil)

// Write reads a piece of the document. Its error is an *Error, or the
// handler's as it is; n is then the bytes before the fault.
func (s *Scanner) Write(p []byte) (n int, err error) {
	s.halts = false
	return s.scan(p)
}

// Some reads as Write does, but no further than to where the handler was told of
// something: behind the byte that begins or ends an array or object, or behind a
// string, a number or a literal. A number ends before the byte that follows it, so n
// may be 0 without an error.
func (s *Scanner) Some(p []byte) (n int, err error) {
	s.halts = true
	return s.scan(p)
}

func (s *Scanner) scan(p []byte) (n int, err error) {
	if s.err != nil {
		return 0, s.err
	}
	s.told = false
	for n < len(p) && err == nil && !s.told {
		var used int
		used, err = s.read(p[n:])
		n += used
	}
	s.offset += int64(n)
	if err != nil {
		s.fail(err)
	}
	return n, s.err
}

// End says whether the document was whole. Its error is as that of Write.
func (s *Scanner) End() error {
	if s.err == nil && s.state == inNumber {
		if err := s.endNumber(); err != nil {
			s.fail(err)
		}
	}
	if s.err == nil && s.state != wantEnd {
		s.fail(syntax("it ends too early"))
	}
	return s.err
}

// fail keeps an error, and says in one that was made here where it was.
func (s *Scanner) fail(err error) {
	if e, ok := err.(*Error); ok { //nolint:errorlint // one that a handler wraps is of another document
		e.Offset = s.offset
	}
	s.err = err
}

// read takes some of p, or ends a number before it.
func (s *Scanner) read(p []byte) (int, error) {
	switch s.state {
	case inText:
		return s.readText(p)
	case inEscape:
		return 1, s.escape(p[0])
	case inHex:
		return s.readHex(p)
	case inNumber:
		return s.readNumber(p)
	case inLiteral:
		return s.readLiteral(p)
	default:
		return s.readStructure(p)
	}
}

// readStructure takes space and structural characters, and what stands between them if
// it is short and all there, as most is. Where readers of documents spend their time, it
// does not go by the state from byte to byte.
func (s *Scanner) readStructure(p []byte) (n int, err error) {
	for n < len(p) && !s.told && s.state <= wantEnd && err == nil {
		c, used := p[n], 1
		switch {
		case c == ' ' || c == '\n' || c == '\r' || c == '\t':
		case c == '"' && s.state <= wantMember:
			used, err = s.readQuoted(p[n:])
		case c == ',' && s.state == wantComma:
			s.separate()
		default:
			used, err = s.sign(p[n:])
		}
		n += used
	}
	return n, err
}

// sign takes one byte that is not space, between texts, numbers and literals, and what
// it begins.
func (s *Scanner) sign(p []byte) (int, error) {
	c := p[0]
	switch s.state {
	case wantValue:
		return s.begin(p)
	case wantElement:
		if c == ']' {
			return s.closed()
		}
		return s.begin(p)
	case wantMember:
		if c == '}' {
			return s.closed()
		}
		return 0, syntax("not a key")
	case wantKey:
		return 0, syntax("not a key")
	case wantColon:
		if c != ':' {
			return 0, syntax("no colon behind a key")
		}
		s.state = wantValue
		return 1, nil
	case wantComma:
		if inObject := s.inObject(); c == '}' && inObject || c == ']' && !inObject {
			return s.closed()
		}
		return 0, syntax("neither a comma nor the end of what is open")
	default:
		return 0, syntax("something behind the end")
	}
}

// begin takes the first byte of a value that is no text, and a number or literal as far
// as it is there.
func (s *Scanner) begin(p []byte) (n int, err error) {
	switch p[0] {
	case '{':
		return s.open(Object, wantMember)
	case '[':
		return s.open(Array, wantElement)
	case 't':
		s.beginLiteral("true", True)
	case 'f':
		s.beginLiteral("false", False)
	case 'n':
		s.beginLiteral("null", Null)
	default:
		if err := s.beginNumber(p[0]); err != nil {
			return 0, err
		}
		n, err = s.readNumber(p[1:])
		return 1 + n, err
	}
	n, err = s.readLiteral(p[1:])
	return 1 + n, err
}

// separate goes on behind a comma.
func (s *Scanner) separate() {
	if s.inObject() {
		s.state = wantKey
		return
	}
	s.state = wantValue
	s.nextElement()
}

func (s *Scanner) inObject() bool {
	d := s.depth - 1
	return s.object[d>>6]>>(d&63)&1 != 0
}

// open begins an array or object.
func (s *Scanner) open(kind Kind, inside state) (int, error) {
	if s.depth == MaxDepth {
		return 0, limit("nested too deep")
	}
	if err := s.tell(kind, nil); err != nil {
		return 0, err
	}
	d := s.depth
	s.object[d>>6] &^= 1 << (d & 63)
	if kind == Object {
		s.object[d>>6] |= 1 << (d & 63)
	}
	s.depth++
	s.state = inside
	if s.depth < len(s.at) {
		s.at[s.depth] = s.next
		if s.next != nil {
			s.seen &^= s.next.below
		}
	}
	if kind == Array {
		s.nextElement()
	}
	return 1, nil
}

// closed ends an array or object.
func (s *Scanner) closed() (int, error) {
	n := s.around()
	s.depth--
	s.valued()
	if s.ender == nil || n == nil || n.path < 0 {
		return 1, nil
	}
	s.told = s.halts
	if err := s.ender.End(n.path); err != nil {
		return 0, err
	}
	return 1, nil
}

// around is the node of the object or array around what comes next; nil if
// nobody asked for anything in it.
func (s *Scanner) around() *node {
	if s.depth < len(s.at) {
		return s.at[s.depth]
	}
	return nil
}

func (s *Scanner) nextElement() {
	s.next = nil
	if n := s.around(); n != nil {
		s.next = n.each
	}
}

// valued goes on behind a value.
func (s *Scanner) valued() {
	s.state = wantComma
	if s.depth == 0 {
		s.state = wantEnd
	}
}

// asked says whether somebody asked for the value that comes next itself.
func (s *Scanner) asked() bool { return s.next != nil && s.next.path >= 0 }

func (s *Scanner) tell(kind Kind, text []byte) error {
	if !s.asked() {
		return nil
	}
	s.told = s.halts
	return s.handler.Value(s.next.path, kind, text)
}
