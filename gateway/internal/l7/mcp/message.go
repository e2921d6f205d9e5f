package mcp

import (
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonrpc"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

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
		of[i] = inEach(pointers[i])
	}
	return of
}

// inEach is the same place in every element of an array.
func inEach(pointer string) string {
	if rest, glance := strings.CutPrefix(pointer, "?"); glance {
		return "?/*" + rest
	}
	return "/*" + pointer
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
			return inspect.Unreadable("jsonrpc is not 2.0", nil)
		}
	case method:
		if !isText || len(text) > inspect.MaxText {
			return inspect.Unreadable("the method is not a text, or too long", nil)
		}
		m.method = string(text)
	case id:
		if len(text) > inspect.MaxText {
			return inspect.Unreadable("an id is too long", nil)
		}
		if m.ask.ID = jsonrpc.ID(kind, text); m.ask.ID == nil {
			return inspect.Unreadable("an id is neither a text nor a number", nil)
		}
	case params:
		if kind != jsonscan.Object && kind != jsonscan.Null {
			return inspect.Unreadable("the params are no object", nil)
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
		return inspect.Ambiguous("a message is a request and an answer", nil)
	case m.met(result) && m.met(fault):
		return inspect.Ambiguous("an answer is a result and an error", nil)
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
			return inspect.Ambiguous("a notification has an id", nil)
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
		return inspect.Unreadable("the name of what is asked for is not a text, or too long", nil)
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
		return inspect.Unreadable("a message is not of JSON-RPC 2.0", nil)
	case !m.met(method) && !answers:
		return inspect.Unreadable("a message is neither a request nor an answer", nil)
	case answers && !m.met(id) && !m.met(fault):
		return inspect.Unreadable("a result has no id", nil)
	case answers:
	case !m.met(id) && known:
		return inspect.Unreadable("a request has no id", nil)
	case !m.met(id):
		m.ask.Operation, m.told = Notify, true
	case !m.told:
		return inspect.Unreadable("a request does not name what it asks for", nil)
	}
	return nil
}
