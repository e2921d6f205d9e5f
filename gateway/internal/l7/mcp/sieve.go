package mcp

import (
	"bytes"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// Bounds of what is held of an answer, in bytes.
const (
	maxUnknown = 64 << 10  // before it is known what a message is
	maxEntry   = 256 << 10 // of one entry of a list, with what is before it
	maxInputs  = 64 << 10  // of what the server asks for in a result
)

// place is what stands somewhere in a server's message.
type place uint8

const (
	aMessage place = iota
	aMethod
	aResult
	aFault
	aCode
	aFailure
	tools
	prompts
	resources
	templates // of the URIs of resources
	anEntry   // of a list
	aName     // what an entry is asked for by
	aInputs
	nowhere
)

// servedAt are those places, by their pointers.
var servedAt = map[string]place{
	"": aMessage, "/method": aMethod, "?/result": aResult, "?/error": aFault, "/error/code": aCode,
	"?/result/isError": aFailure, "?/result/inputRequests": aInputs,
	"?/result/tools": tools, "/result/tools/*": anEntry, "/result/tools/*/name": aName,
	"?/result/prompts": prompts, "/result/prompts/*": anEntry, "/result/prompts/*/name": aName,
	"?/result/resources": resources, "/result/resources/*": anEntry, "/result/resources/*/uri": aName,
	"?/result/resourceTemplates": templates, "/result/resourceTemplates/*": anEntry, "/result/resourceTemplates/*/uriTemplate": aName,
}

// What is looked for in one message, and in each of a batch.
var (
	servedOne   = jsonscan.MustSchema(servedAt)
	servedBatch = jsonscan.MustSchema(inEachOf(servedAt))
)

// inEachOf are the same places in every element of an array.
func inEachOf(places map[string]place) map[string]place {
	of := make(map[string]place, len(places))
	for pointer, is := range places {
		of[inEach(pointer)] = is
	}
	return of
}

// mode is what becomes of what is read.
type mode uint8

const (
	passing  mode = iota // it goes on
	unknown              // it is held: it is not known yet what the message is
	between              // it is between the entries of a list: commas may go
	inEntry              // it is held, and so is the comma before it
	inInputs             // it is held
	gone                 // it goes nowhere
)

// sieve reads one document of an answer, a message or a batch of them, and lets
// through what the caller may have. Without rules it only reads.
type sieve struct {
	scan    jsonscan.Scanner
	schema  *jsonscan.Schema[place]
	rules   *inspect.Rules
	said    *inspect.Said
	inEvent bool // a message alone that may not pass can be left out
	out     []byte

	begun, batch bool
	mode         mode
	kind         place // of the message: aMethod, aResult or aFault; aMessage if it is not known
	told         told
	listed       place  // what the list is of that is read
	name         string // what the entry is asked for by that is read
	named        bool
	kept         bool // an entry of this list has passed

	held []byte // what is not decided
	rest []byte // of it, what stays where an entry goes: space, and what frames the JSON
	doc  []byte // of it, the JSON of an entry or of inputs
}

// told is what a scanner has told last.
type told struct {
	place place // nowhere if nothing
	kind  jsonscan.Kind
	ended bool
	text  string // of a method, an error's code or an entry's name
}

// reset makes a sieve ready for a document. It keeps its buffers.
func (s *sieve) reset(rules *inspect.Rules, said *inspect.Said, inEvent bool) {
	s.rules, s.said, s.inEvent = rules, said, inEvent
	s.begun, s.batch = false, false
	s.mode, s.kind, s.told = unknown, aMessage, told{place: nowhere}
	s.forget()
}

// forget drops what is held.
func (s *sieve) forget() { s.held, s.rest, s.doc = s.held[:0], s.rest[:0], s.doc[:0] }

// release lets on what is held.
func (s *sieve) release() {
	s.out = append(s.out, s.held...)
	s.forget()
}

// write takes a piece of the document. stands says that it is written so in the answer;
// otherwise it only joins what is.
func (s *sieve) write(b []byte, stands bool) error {
	if !s.begun {
		space := len(b) - len(bytes.TrimLeft(b, space))
		if err := s.put(b[:space], stands); err != nil || space == len(b) {
			return err
		}
		b = b[space:]
		s.begin(b[0])
	}
	for len(b) > 0 && s.mode != gone {
		n, wrong := s.scan.Some(b)
		if wrong != nil {
			s.told.place = nowhere
		}
		if err := s.step(b[:n], stands); err != nil {
			return err
		}
		if wrong != nil {
			return inspect.Scanned(wrong)
		}
		b = b[n:]
	}
	return nil
}

// begin chooses what to look for by the first byte that is not space.
func (s *sieve) begin(c byte) {
	s.begun, s.batch = true, c == '['
	if s.schema = servedOne; s.batch {
		s.schema = servedBatch
	}
	s.scan.Reset(s.schema.Paths, (*teller)(s))
}

// end says that the document is whole.
func (s *sieve) end() error {
	if s.begun && s.mode != gone {
		if err := s.scan.End(); err != nil {
			return inspect.Scanned(err)
		}
	}
	s.release()
	return nil
}

// step takes what was read up to where something was told.
func (s *sieve) step(b []byte, stands bool) error {
	t := s.told
	s.told.place = nowhere
	if !t.opens() {
		if err := s.put(b, stands); err != nil {
			return err
		}
		return s.turn(&t)
	}
	last := len(b) - 1 // what is held begins with it
	if err := s.put(b[:last], stands); err != nil {
		return err
	}
	if s.mode, s.named = inInputs, false; t.place == anEntry {
		s.mode = inEntry
		s.said.Listed++
	}
	return s.put(b[last:], stands)
}

// opens says that something begins that is looked at as a whole.
func (t *told) opens() bool {
	return (t.place == anEntry || t.place == aInputs) && t.kind == jsonscan.Object && !t.ended
}

// turn goes on behind what was told.
func (s *sieve) turn(t *told) error {
	switch t.place {
	case aMessage:
		s.message(t)
	case aMethod, aResult, aFault:
		return s.known(t)
	case aCode:
		s.fail("error " + t.text)
	case aFailure:
		if t.kind == jsonscan.True {
			s.fail("tool_error")
		}
	case tools, prompts, resources, templates:
		return s.list(t)
	case anEntry:
		return s.judgeEntry(t)
	case aName:
		s.name, s.named = t.text, t.kind == jsonscan.String
	case aInputs:
		return s.judgeInputs(t)
	}
	return nil
}

// message begins one of a batch, or ends one.
func (s *sieve) message(t *told) {
	s.kind = aMessage
	if t.ended && s.batch {
		s.mode = unknown
	}
}

// known goes on where it is known what a message is. Null says nothing: a result may
// come with an error of null.
func (s *sieve) known(t *told) error {
	if t.ended || s.kind == t.place || t.kind == jsonscan.Null {
		return nil
	}
	s.kind = t.place
	if t.place == aMethod && !s.may(served(t.text)) {
		s.said.Stopped++
		if !s.inEvent || s.batch {
			return forbidden("a message from the server to the client")
		}
		s.mode = gone
		s.alive()
		s.forget()
		return nil
	}
	s.mode = passing
	s.release()
	return nil
}

// fail keeps the first fault.
func (s *sieve) fail(fault string) {
	if s.said.Failed = true; s.said.Fault == "" {
		s.said.Fault = fault
	}
}

// put takes a piece of the JSON.
func (s *sieve) put(b []byte, stands bool) error {
	if s.rules == nil {
		return nil
	}
	if s.mode == inEntry || s.mode == inInputs {
		s.doc = append(s.doc, b...)
	}
	switch {
	case !stands:
		return nil
	case s.mode == passing:
		s.out = append(s.out, b...)
		return nil
	case s.mode == between:
		return s.putBetween(b)
	}
	s.held = append(s.held, b...)
	return s.bound()
}

// frame takes a piece of what frames the JSON in an event.
func (s *sieve) frame(b []byte) error {
	switch {
	case s.rules == nil || s.mode == gone:
		return nil
	case s.mode == passing || s.mode == between && len(s.held) == 0:
		s.out = append(s.out, b...)
		return nil
	}
	s.held = append(s.held, b...)
	s.rest = append(s.rest, b...)
	if s.mode == unknown && len(s.held) > maxUnknown {
		s.alive()
	}
	return s.bound()
}

// alive lets on the comments before an event, which keep a connection alive. No blank
// line need follow one, so that it may be long until more comes.
func (s *sieve) alive() {
	n := 0
	for rest := s.held; len(rest) > 0; rest = s.held[n:] {
		end := 1
		if rest[0] == ':' {
			end = bytes.IndexByte(rest, '\n') + 1
		}
		if rest[0] != ':' && rest[0] != '\n' || end == 0 {
			break
		}
		n += end
	}
	s.out = append(s.out, s.held[:n]...)
	s.held = append(s.held[:0], s.held[n:]...)
}

// bound is on what is held.
func (s *sieve) bound() error {
	most := maxUnknown
	switch s.mode {
	case between, inEntry:
		most = maxEntry
	case inInputs:
		most = maxInputs
	}
	if len(s.held) > most {
		return inspect.Unreadable("what must be held of a message is too long", nil)
	}
	return nil
}

// teller is a sieve that is told of values, which is not for others to do.
type teller sieve

var _ jsonscan.Ender = (*teller)(nil)

func (s *teller) Value(path int, kind jsonscan.Kind, text []byte) error {
	at := s.schema.Is[path]
	s.told = told{place: at, kind: kind}
	switch at {
	case aMessage:
		if s.batch && kind != jsonscan.Object {
			return inspect.Unreadable("a message is no object", nil)
		}
	case aMethod, aResult, aFault:
		if s.kind != aMessage && kind != jsonscan.Null {
			return inspect.Ambiguous("a message is two things at once", nil)
		}
		if at == aMethod && kind != jsonscan.String && kind != jsonscan.Null {
			return inspect.Unreadable("a method is not a text", nil)
		}
		s.told.text = string(text)
	case aCode, aName:
		s.told.text = string(text)
	}
	return nil
}

func (s *teller) End(path int) error {
	s.told = told{place: s.schema.Is[path], ended: true}
	return nil
}
