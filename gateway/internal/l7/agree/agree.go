// Package agree holds what the head of a request says of its content against
// the content itself, while that streams by. Others route and decide by such
// fields: the Mcp-* ones of MCP, and fields that name a model. Where the two
// differ, or could be read to differ, the request says one thing to one reader
// and another to the next, and must go nowhere.
//
// The package neither holds content back nor decides anything else. Its one
// invariant: what Model, Method and Name give stands in the head and in the
// content alike, for every reader.
//
// MCP's Mcp-Param-* are not compared: which argument one of them repeats stands in
// the tool's schema alone, and who does not have that must forward them and
// otherwise ignore them (MCP 2026-07-28, Streamable HTTP, Server Behavior for
// Custom Headers).
package agree

import (
	"errors"
	"io"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonrpc"
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
	modern bool   // of a version whose requests repeat it in the head
	loose  bool   // the content is of another type, and may yet be read as JSON
	other  bool   // and is none
	asks   bool   // the message has an id: it is a request
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
	as, why := readable(head.Fields)
	switch {
	case c.mcp:
		c.scan.Reset(messagePaths, (*handler)(c))
		if why == "" && as != isJSON {
			why = "the content is of no JSON type"
		}
	case c.claims[model].field == "" || as == isNone || head.IsGRPC():
		return nil
	default:
		c.scan.Reset(contentPaths, (*handler)(c))
		c.loose = as == isText
	}
	if why != "" {
		c.fail(&Error{Kind: ErrUndecidable, Why: why})
	}
	return c
}

// claims says whether any field may be about the content.
func claims(fields l7.Fields) bool {
	for i := range fields {
		if f := &fields[i]; ofMessage(f) || namesModel(f.Name) {
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
// tells. But where a document of JSON is whole, all of it was compared: who reads
// no further finds nothing else in it.
func (c *Check) Write(p []byte) (int, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case c.other || len(p) == 0:
		return len(p), nil
	}
	if c.loose && c.scan.Offset() == 0 && wide(p[0]) {
		c.fail(&Error{Kind: ErrUndecidable, Why: "the content is not in UTF-8, or begins with a byte order mark"})
		return 0, c.err
	}
	n, err := c.scan.Write(p)
	if _, told := errors.AsType[*Error](err); !told && c.scan.Whole() {
		c.meet()
	}
	if err != nil {
		c.unread(err)
	}
	if c.other {
		n = len(p)
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
	c.meet()
	c.whole = c.err == nil
	return c.err
}

// meet fails for what the content has not said, all of which was read.
func (c *Check) meet() {
	for i := range c.claims {
		if cl := &c.claims[i]; cl.needed && !cl.met {
			c.fail(cl.differs(pointers[i], "not there"))
		}
	}
	switch {
	case c.modern && c.asks && c.claims[method].field == "":
		c.fail(&Error{Kind: ErrDisagree, Field: mcpMethod, Why: "is missing"})
	case c.anyName() && !c.claims[name].met && !c.claims[uri].met && !c.claims[task].met:
		c.fail(c.claims[name].differs(pointers[name], "not there"))
	}
}

// Model is the model that head and content name; "" if one of them names none,
// or before End found that they agree.
func (c *Check) Model() string { return c.agreed(model) }

// Method is the JSON-RPC method that head and content name, as Model.
func (c *Check) Method() string { return c.agreed(method) }

// Name is the tool's or prompt's name, the resource's URI or the task's id that
// head and content give, as Model.
func (c *Check) Name() string {
	for _, place := range [...]int{name, uri, task} {
		if agreed := c.agreed(place); agreed != "" {
			return agreed
		}
	}
	return ""
}

func (c *Check) agreed(place int) string {
	if !c.whole || c.other || !c.claims[place].met {
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
		h.id, h.asks = jsonrpc.ID(kind, text), true
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
	if c.loose && errors.Is(err, jsonscan.ErrSyntax) {
		c.other = true
		return
	}
	kind := ErrUndecidable
	if errors.Is(err, jsonscan.ErrAmbiguous) {
		kind = ErrDisagree // the content with itself
		c.id = nil         // which may be what comes twice
	}
	c.fail(&Error{Kind: kind, Why: "the content is " + err.Error(), cause: err})
}
