package mcp

import (
	"errors"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonrpc"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// unreadable and ambiguous are why nobody can tell what a content says.
func unreadable(what string) error { return &inspect.Error{Kind: inspect.ErrUnreadable, What: what} }
func ambiguous(what string) error  { return &inspect.Error{Kind: inspect.ErrAmbiguous, What: what} }

// unread is an error of a scan, or of a handler, as an *inspect.Error.
func unread(err error) error {
	if e, ok := errors.AsType[*inspect.Error](err); ok {
		return e
	}
	kind := inspect.ErrUnreadable
	if errors.Is(err, jsonscan.ErrAmbiguous) {
		kind = inspect.ErrAmbiguous
	}
	return &inspect.Error{Kind: kind, What: err.Error(), Cause: err}
}

// Places in a client's message, as indexes of the paths.
const (
	document = iota
	version
	method
	id
	result
	fault
	params
	name
	uri
)

// pointers are those places.
var pointers = []string{
	document: "",
	version:  "/jsonrpc",
	method:   "/method",
	id:       "/id",
	result:   "?/result",
	fault:    "?/error",
	params:   "?/params",
	name:     "/params/name",
	uri:      "/params/uri",
}

// What is looked for in one message, and in each of a batch.
var (
	onePaths   = jsonscan.MustCompile(pointers...)
	batchPaths = jsonscan.MustCompile(each(pointers)...)
)

// each are the same places in every element of an array.
func each(pointers []string) []string {
	of := make([]string, len(pointers))
	for i := range pointers {
		pointer, glance := strings.CutPrefix(pointers[i], "?")
		if of[i] = "/*" + pointer; glance {
			of[i] = "?" + of[i]
		}
	}
	return of
}

// message is a client's message as far as it was read.
type message struct {
	ask    inspect.Ask
	method string
	named  [2]string // by name and by URI
	has    uint16    // a bit for each place that was met
	odd    uint16    // likewise where there is not the kind of value that there must be
	told   bool      // ask says what it is
}

func (m *message) met(place int) bool { return m.has&(1<<place) != 0 }

// value takes what stands in a place.
func (m *message) value(place int, kind jsonscan.Kind, text []byte) error {
	m.has |= 1 << place
	isText := kind == jsonscan.String
	switch place {
	case version:
		if !isText || string(text) != "2.0" {
			return unreadable("jsonrpc is not 2.0")
		}
	case method:
		if !isText || len(text) > inspect.MaxText {
			return unreadable("the method is not a text, or too long")
		}
		m.method = string(text)
	case id:
		if len(text) > inspect.MaxText {
			return unreadable("an id is too long")
		}
		if m.ask.ID = jsonrpc.ID(kind, text); m.ask.ID == nil {
			return unreadable("an id is neither a text nor a number")
		}
	case params:
		if kind != jsonscan.Object && kind != jsonscan.Null {
			return unreadable("the params are no object")
		}
	case name, uri:
		if !isText || len(text) > inspect.MaxText {
			m.odd |= 1 << place
			return nil
		}
		m.named[place-name] = string(text)
	}
	return m.tell()
}

// tell says in ask what the message is, if it is known.
func (m *message) tell() error {
	answers := m.met(result) || m.met(fault)
	switch {
	case m.met(method) && answers:
		return ambiguous("a message is a request and an answer")
	case m.met(result) && m.met(fault):
		return ambiguous("an answer is a result and an error")
	case answers:
		m.ask.Operation, m.told = Respond, true
		m.ask.ID = nil // it is the server's
	case m.met(method):
		return m.tellMethod()
	}
	return nil
}

func (m *message) tellMethod() error {
	op, known := asked(m.method)
	switch {
	case notification(m.method):
		if m.met(id) {
			return ambiguous("a notification has an id")
		}
		m.ask.Operation, m.told = Notify, true
		return nil
	case !known && !m.met(id): // it may yet be a notification
		return nil
	case op.naming == nameless:
		m.ask.Operation, m.told = op.name, true
		return nil
	}
	place := name + int(op.naming-byName)
	if m.odd&(1<<place) != 0 {
		return unreadable("the name of what is asked for is not a text, or too long")
	}
	if m.met(place) {
		m.ask.Operation, m.ask.Tool, m.told = op.name, m.named[op.naming-byName], true
	}
	return nil
}

// end says what is wrong with a message that is whole.
func (m *message) end() error {
	_, known := asked(m.method)
	answers := m.met(result) || m.met(fault)
	switch {
	case !m.met(version):
		return unreadable("a message is not of JSON-RPC 2.0")
	case !m.met(method) && !answers:
		return unreadable("a message is neither a request nor an answer")
	case answers && !m.met(id) && !m.met(fault):
		return unreadable("a result has no id")
	case answers:
	case !m.met(id) && known:
		return unreadable("a request has no id")
	case !m.met(id):
		m.ask.Operation, m.told = Notify, true
	case !m.told:
		return unreadable("a request does not name what it asks for")
	}
	return nil
}
