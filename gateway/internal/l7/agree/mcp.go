package agree

import (
	"encoding/base64"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// The fields of MCP's Streamable HTTP transport that repeat the content (MCP
// 2026-07-28, Streamable HTTP, Request Metadata).
const (
	protocolVersion = "mcp-protocol-version"
	mcpMethod       = "mcp-method"
	mcpName         = "mcp-name"
)

// ofMessage says that a field is about a JSON-RPC message. An older version alone
// says nothing of its content.
func ofMessage(f *l7.Field) bool {
	return f.Name == mcpMethod || f.Name == mcpName || f.Name == protocolVersion && repeats(f.Value)
}

// firstWithHeaders is the first version of MCP whose requests repeat method and
// name in the head. Under an earlier one, or none, they need not; where they do,
// nobody else will have compared it (Server Validation, the second note).
const firstWithHeaders = "2026-07-28"

// repeats says that a version is one whose requests have the fields. Versions
// are dates, written so that they sort.
func repeats(version string) bool {
	if len(version) != len(firstWithHeaders) {
		return false
	}
	for i := range len(version) {
		if c, dash := version[i], i == 4 || i == 7; dash != (c == '-') || !dash && (c < '0' || c > '9') {
			return false
		}
	}
	return version >= firstWithHeaders
}

// claimMCP takes what the head says of a JSON-RPC message, if it says anything. A
// notification may come without a method in the head: what of it is repeated, the
// standard leaves open (Sending Messages, the note).
func (c *Check) claimMCP(head *l7.RequestHead) {
	if head.Method != "POST" {
		return
	}
	for i := range head.Fields {
		f := &head.Fields[i]
		c.modern = c.modern || f.Name == protocolVersion && repeats(f.Value)
		c.mcp = c.mcp || ofMessage(f)
	}
	if !c.mcp {
		return
	}
	c.claim(head.Fields, protocolVersion, version)
	c.claim(head.Fields, mcpMethod, method)
	c.claims[method].needed = c.claims[method].field != ""
	c.claimName(head.Fields)
}

// claim takes what the one field of that name says of a place.
func (c *Check) claim(fields l7.Fields, field string, place int) {
	value, there, several := only(fields, field)
	if there {
		c.claims[place] = claim{field: field, value: value}
	}
	if several {
		c.fail(&Error{Kind: ErrDisagree, Field: field, Why: "comes more than once"})
	}
}

// named is where a method names what it is for, and whether the head must repeat
// it (Standard Request Headers). Of tasks, which are an extension, the client must
// and the server need not look (SEP-2663, Routing Headers). Of any other method it
// is not known where; see anyName.
func named(method string) (place int, needed, known bool) {
	switch method {
	case "tools/call", "prompts/get":
		return name, true, true
	case "resources/read":
		return uri, true, true
	case "tasks/get", "tasks/update", "tasks/cancel":
		return task, false, true
	default:
		return name, false, false
	}
}

// anyName says that the head has a name for a method of which nobody here knows
// where the content has it. It must then be in one of the places for names, and in
// each that there is.
func (c *Check) anyName() bool {
	return c.claims[name].field == mcpName && c.claims[task].field == mcpName
}

// claimName takes what Mcp-Name says.
func (c *Check) claimName(fields l7.Fields) {
	place, needed, known := named(c.claims[method].value)
	if !fields.Has(mcpName) {
		if c.modern && needed {
			c.fail(&Error{Kind: ErrDisagree, Field: mcpName, Why: "is missing"})
		}
		return
	}
	c.claim(fields, mcpName, place)
	claim := &c.claims[place]
	var why string
	if claim.value, why = plainName(claim.value); why != "" {
		c.fail(&Error{Kind: ErrDisagree, Field: mcpName, Why: why})
	}
	if claim.needed = known; !known {
		c.claims[uri], c.claims[task] = *claim, *claim
	}
}

// A name that is not safe in a field is written in Base64 between these (Value
// Encoding).
const (
	sentinel    = "=?base64?"
	sentinelEnd = "?="
)

// plainName undoes the Base64 form of a name, and says what is wrong with it. The
// standard takes a prefix in another case, or without the end, for the name itself;
// not every reader does.
func plainName(value string) (name, why string) {
	for i := range len(value) {
		if c := value[i]; (c < ' ' && c != '\t') || c > '~' {
			return value, "is neither ASCII nor in its Base64 form"
		}
	}
	if len(value) < len(sentinel) || !strings.EqualFold(value[:len(sentinel)], sentinel) {
		return value, ""
	}
	coded, ok := strings.CutPrefix(value, sentinel)
	coded, closed := strings.CutSuffix(coded, sentinelEnd)
	decoded, err := base64.StdEncoding.Strict().DecodeString(coded)
	if !ok || !closed || err != nil {
		return value, "is not well formed in its Base64 form"
	}
	return string(decoded), ""
}

// oneMessage refuses content that is no JSON-RPC message: MCP's batches are
// older than the versions that repeat anything in the head.
func oneMessage(kind jsonscan.Kind) error {
	switch kind {
	case jsonscan.Object:
		return nil
	case jsonscan.Array:
		return &Error{Kind: ErrDisagree, Why: "the content is a batch, which this version of MCP has not"}
	default:
		return &Error{Kind: ErrDisagree, Why: "the content is no JSON-RPC message"}
	}
}
