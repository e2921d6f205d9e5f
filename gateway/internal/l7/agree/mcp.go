package agree

import (
	"encoding/base64"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// The fields of MCP's Streamable HTTP transport that repeat the content.
const (
	protocolVersion = "mcp-protocol-version"
	mcpMethod       = "mcp-method"
	mcpName         = "mcp-name"
)

// firstWithHeaders is the first version of MCP whose requests repeat method and
// name in the head. Under an earlier one, or none, such fields mean nothing:
// nobody may trust them, and there is nothing to compare.
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

// claimMCP takes what the head says of a JSON-RPC message, if it is of a version
// that has this.
func (c *Check) claimMCP(head *l7.RequestHead) {
	if head.Method != "POST" {
		return
	}
	for i := range head.Fields {
		f := &head.Fields[i]
		c.mcp = c.mcp || f.Name == protocolVersion && repeats(f.Value)
	}
	if !c.mcp {
		return
	}
	c.claim(head.Fields, protocolVersion, version)
	c.claim(head.Fields, mcpMethod, method)
	if c.claims[method].needed = true; c.claims[method].field == "" {
		c.fail(&Error{Kind: ErrDisagree, Field: mcpMethod, Why: "is missing"})
		return
	}
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

// nowhere is the place of a name that a method has not.
const nowhere = -1

// named is where a method names what it is for, and whether the head must
// repeat it.
func named(method string) (place int, needed bool) {
	switch method {
	case "tools/call", "prompts/get":
		return name, true
	case "resources/read":
		return uri, true
	case "tasks/get", "tasks/update", "tasks/cancel":
		return task, false
	default:
		return nowhere, false
	}
}

// claimName takes what Mcp-Name says. Beside a method that names nothing it
// would tell a reader of the head alone of something that is not there.
func (c *Check) claimName(fields l7.Fields) {
	place, needed := named(c.claims[method].value)
	there := fields.Has(mcpName)
	switch {
	case !there && needed:
		c.fail(&Error{Kind: ErrDisagree, Field: mcpName, Why: "is missing"})
		return
	case !there:
		return
	case place == nowhere:
		c.fail(&Error{Kind: ErrDisagree, Field: mcpName, Why: "stands beside a method that names nothing"})
		return
	}
	c.claim(fields, mcpName, place)
	claim := &c.claims[place]
	claim.needed = true
	var why string
	if claim.value, why = plainName(claim.value); why != "" {
		c.fail(&Error{Kind: ErrDisagree, Field: mcpName, Why: why})
	}
}

// A name that is not safe in a field is written in Base64 between these.
const (
	sentinel    = "=?base64?"
	sentinelEnd = "?="
)

// plainName undoes the Base64 form of a name, and says what is wrong with it. A
// prefix in another case is neither that form nor, to every reader, another.
func plainName(value string) (name, why string) {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
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
