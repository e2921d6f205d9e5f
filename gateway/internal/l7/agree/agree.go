// Package agree holds what the head of a request says of its content against
// the content itself, while that streams by. Others route and decide by such
// fields: the Mcp-* ones of MCP, and fields that name a model. Where the two
// differ, or could be read to differ, the request says one thing to one reader
// and another to the next, and must go nowhere.
//
// The package neither holds content back nor decides anything else. Its one
// invariant: what Model, Method and Name give stands in the head and in the
// content alike, for every reader.
package agree

import (
	"errors"
	"io"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// Places in the content that a head may speak of, as indexes of the paths.
const (
	model = iota
	document
	method
	id
	name
	uri
	task
	version
	places
)

// pointers are the places as JSON Pointers.
var pointers = [places]string{
	model:    "/model",
	document: "",
	method:   "/method",
	id:       "/id",
	name:     "/params/name",
	uri:      "/params/uri",
	task:     "/params/taskId",
	version:  "/params/_meta/io.modelcontextprotocol~1protocolVersion",
}

// What is looked for in a JSON content, and in a JSON-RPC message.
var (
	contentPaths = jsonscan.MustCompile(pointers[model])
	messagePaths = jsonscan.MustCompile(pointers[:]...)
)

// claim is what a head says of one place in the content.
type claim struct {
	field  string // the name of the field that says it; "" if none does
	value  string
	needed bool // the content must say it too
	met    bool // it does
}

// Check is the comparison of one request. It is an io.Writer that takes the
// content. It is not safe for concurrent use.
type Check struct {
	scan   jsonscan.Scanner
	claims [places]claim
	mcp    bool   // the content is to be one JSON-RPC message
	id     []byte // the message's id as JSON; nil if it was not seen
	whole  bool   // the content has ended, and agrees
	err    error
}

// New begins to compare a request. It is nil if the head says nothing that
// could be compared. A head that contradicts itself gives a Check that has
// failed: see Err.
func New(head *l7.RequestHead) *Check {
	if head.Method == "CONNECT" || !claims(head.Fields) {
		return nil
	}
	c := new(Check)
	c.claimMCP(head)
	c.claimModel(head.Fields)
	json, why := readable(head.Fields)
	switch {
	case c.mcp:
		c.scan.Reset(messagePaths, (*handler)(c))
	case c.claims[model].field == "" || !json || head.IsGRPC():
		return nil
	default:
		c.scan.Reset(contentPaths, (*handler)(c))
	}
	if why == "" && !json {
		why = "the content is of no JSON type"
	}
	if why != "" {
		c.fail(&Error{Kind: ErrUndecidable, Why: why})
	}
	return c
}

// claims says whether any field may be about the content.
func claims(fields l7.Fields) bool {
	for i := range fields {
		if n := fields[i].Name; n == protocolVersion || namesModel(n) {
			return true
		}
	}
	return false
}

// fail keeps the first fault.
func (c *Check) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// Err is why the request must not go on, as far as is known: an *Error. Once it
// is not nil it stays.
func (c *Check) Err() error { return c.err }

var _ io.Writer = (*Check)(nil)

// Write takes a piece of the content, of any size. Its error is that of Err. No
// error is no promise: the last byte may bring a contradiction, and only End
// tells.
func (c *Check) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.scan.Write(p)
	if err != nil {
		c.unread(err)
	}
	return n, c.err
}

// End says, where the content has ended, that head and content agree, or why
// they do not: an *Error.
func (c *Check) End() error {
	switch {
	case c.err != nil:
		return c.err
	case c.scan.Offset() == 0 && !c.mcp:
		c.whole = true // no content names no model
		return nil
	}
	if err := c.scan.End(); err != nil {
		c.unread(err)
	}
	for i := range c.claims {
		if cl := &c.claims[i]; cl.needed && !cl.met {
			c.fail(cl.differs(pointers[i], "not there"))
		}
	}
	c.whole = c.err == nil
	return c.err
}

// Model is the model that head and content name; "" if one of them names none,
// or before End found that they agree.
func (c *Check) Model() string { return c.agreed(model) }

// Method is the JSON-RPC method that head and content name, as Model.
func (c *Check) Method() string { return c.agreed(method) }

// Name is the tool's or prompt's name, the resource's URI or the task's id that
// head and content give, as Model.
func (c *Check) Name() string {
	place, _ := named(c.claims[method].value)
	return c.agreed(place)
}

func (c *Check) agreed(place int) string {
	if !c.whole || place == nowhere || !c.claims[place].met {
		return ""
	}
	return c.claims[place].value
}

// handler is a Check that is told of values, which is not for others to do.
type handler Check

var _ jsonscan.Handler = (*handler)(nil)

func (h *handler) Value(place int, kind jsonscan.Kind, text []byte) error {
	switch cl := &h.claims[place]; {
	case place == id:
		h.id = messageID(kind, text)
		return nil
	case place == document:
		return oneMessage(kind)
	case cl.field == "":
		return nil
	case kind != jsonscan.String:
		return cl.differs(pointers[place], "not a string")
	case string(text) != cl.value:
		return cl.differs(pointers[place], quote(string(text)))
	default:
		cl.met = true
		return nil
	}
}

// unread fails for what a scan ended with.
func (c *Check) unread(err error) {
	if _, ok := errors.AsType[*Error](err); ok {
		c.fail(err)
		return
	}
	kind := ErrUndecidable
	if errors.Is(err, jsonscan.ErrAmbiguous) {
		kind = ErrDisagree // the content with itself
		c.id = nil         // which may be what comes twice
	}
	c.fail(&Error{Kind: kind, Why: "the content is " + err.Error(), cause: err})
}
