// Package mcp says what a request of the Model Context Protocol asks of a server,
// and what the answer says, over the streamable HTTP transport of all versions:
// 2025-03-26 to 2025-11-25, with sessions, a stream of its own and batches, and
// 2026-07-28, which has none of them. From an answer it leaves out the tools, prompts
// and resources that the caller may not ask for, and the messages that it may not get;
// what is left is as the server wrote it, byte for byte.
//
// It does not look at the Mcp-* fields that repeat the content: see package agree.
package mcp

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/agree"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// Operations, which are what methods are called here.
const (
	Initialize            = "initialize"
	Discover              = "discover"
	Notify                = "notify" // any notification
	Ping                  = "ping"
	ListTools             = "list_tools"
	CallTool              = "call_tool" // Tool is its name
	ListPrompts           = "list_prompts"
	GetPrompt             = "get_prompt" // Tool is its name
	ListResources         = "list_resources"
	ListResourceTemplates = "list_resource_templates"
	ReadResource          = "read_resource" // Tool is its URI
	Subscribe             = "subscribe"     // likewise
	Unsubscribe           = "unsubscribe"   // likewise
	Listen                = "listen"        // also the stream that a GET opens
	Complete              = "complete"
	SetLogLevel           = "set_log_level"
	ListTasks             = "list_tasks"
	GetTask               = "get_task"
	GetTaskResult         = "get_task_result"
	UpdateTask            = "update_task"
	CancelTask            = "cancel_task"
	Respond               = "respond"     // an answer to what the server asked for
	EndSession            = "end_session" // a DELETE

	// Operations that a server asks a client for, besides Ping and Notify.
	CreateMessage = "create_message"
	Elicit        = "elicit"
	ListRoots     = "list_roots"
)

// naming is where a request names what it is for.
type naming uint8

const (
	nameless naming = iota
	byName          // /params/name
	byURI           // /params/uri
)

// operation is what a method is called here.
type operation struct {
	name   string
	naming naming
}

// asked is the operation that a client's request of a method is. A method that has no
// name here is its own; it never equals one, since it has a slash.
func asked(method string) (op operation, known bool) {
	switch method {
	case "initialize":
		return operation{name: Initialize}, true
	case "server/discover":
		return operation{name: Discover}, true
	case "ping":
		return operation{name: Ping}, true
	case "tools/list":
		return operation{name: ListTools}, true
	case "tools/call":
		return operation{CallTool, byName}, true
	case "prompts/list":
		return operation{name: ListPrompts}, true
	case "prompts/get":
		return operation{GetPrompt, byName}, true
	case "completion/complete":
		return operation{name: Complete}, true
	case "logging/setLevel":
		return operation{name: SetLogLevel}, true
	case "subscriptions/listen":
		return operation{name: Listen}, true
	}
	return askedOf(method)
}

// askedOf is asked of resources and of tasks.
func askedOf(method string) (op operation, known bool) {
	switch method {
	case "resources/list":
		return operation{name: ListResources}, true
	case "resources/templates/list":
		return operation{name: ListResourceTemplates}, true
	case "resources/read":
		return operation{ReadResource, byURI}, true
	case "resources/subscribe":
		return operation{Subscribe, byURI}, true
	case "resources/unsubscribe":
		return operation{Unsubscribe, byURI}, true
	case "tasks/list":
		return operation{name: ListTasks}, true
	case "tasks/get":
		return operation{name: GetTask}, true
	case "tasks/result":
		return operation{name: GetTaskResult}, true
	case "tasks/update":
		return operation{name: UpdateTask}, true
	case "tasks/cancel":
		return operation{name: CancelTask}, true
	}
	return operation{name: itself(method)}, false
}

// served is the operation that a server's message of a method is.
func served(method string) string {
	switch {
	case notification(method):
		return Notify
	case method == "ping":
		return Ping
	case method == "sampling/createMessage":
		return CreateMessage
	case method == "elicitation/create":
		return Elicit
	case method == "roots/list":
		return ListRoots
	}
	return itself(method)
}

// notification says that a method is one of messages that nobody answers.
func notification(method string) bool { return strings.HasPrefix(method, "notifications/") }

// itself is the operation of a method that has no name here.
func itself(method string) string {
	if strings.Contains(method, "/") {
		return method
	}
	return "method/" + method
}

// Protocol is MCP.
type Protocol struct{}

var _ inspect.Protocol = Protocol{}

// Request begins to read what is sent to a server. Of a GET and a DELETE the head
// tells all; other methods there are none in MCP, and Operation is empty.
//
// A request's id is told when it is read, which may be after Settled. Who refuses a
// request before it has ended should read on for the id: without one, no SDK knows
// which of its calls an error is about.
func (Protocol) Request(head *l7.RequestHead) (inspect.Request, inspect.Ask) {
	ask := inspect.NewAsk()
	ask.Session = session(head.Fields)
	switch head.Method {
	case "POST":
		return newRequest(head, ask), ask
	case "GET":
		ask.Operation, ask.Streamed = Listen, inspect.Yes
	case "DELETE":
		ask.Operation = EndSession
	}
	return nil, ask
}

// session is a digest of the id of the session that a message is of; "" if it is of
// none. The id itself is as good as a credential.
func session(fields l7.Fields) string {
	var ids []string
	for i := range fields {
		if fields[i].Name == "mcp-session-id" {
			ids = append(ids, fields[i].Value)
		}
	}
	if ids == nil {
		return ""
	}
	digest := sha256.Sum256([]byte(strings.Join(ids, ", ")))
	return hex.EncodeToString(digest[:8])
}

// unlike says why the content of a request is not to be read as JSON; "" if it is.
func unlike(fields l7.Fields) string {
	types, utf8 := agree.Types(fields)
	switch {
	case len(types) > 1:
		return "the content has more than one type"
	case len(types) == 1 && !agree.IsJSON(types[0]):
		return "the content is of no JSON type"
	case !utf8:
		return "the content is not in UTF-8"
	}
	return ""
}

// batches says that a request may have several messages: only version 2025-03-26 has
// that. Its requests do not name it; later ones do, but for the first of a client.
func batches(fields l7.Fields) bool {
	for i := range fields {
		if fields[i].Name == "mcp-protocol-version" && fields[i].Value != "2025-03-26" {
			return false
		}
	}
	return true
}
