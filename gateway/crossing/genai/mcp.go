package genai

import (
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// methodOf is MCP's method of an operation; "" if it is none, or one of several: which
// notification it was no record says, nor is a GET that listens a method.
func methodOf(op *crossingv1.Operation) string {
	name := op.GetName()
	if name == "listen" && strings.HasPrefix(op.GetRequest(), "POST ") {
		return "subscriptions/listen"
	}
	if method := methods()[name]; method != "" {
		return method
	}
	if method, ok := strings.CutPrefix(name, "method/"); ok {
		return method
	}
	if strings.Contains(name, " ") { // a request, as it is called where nobody read it
		return ""
	}
	if strings.Contains(name, "/") {
		return name
	}
	return ""
}

// methods by the names that the gateway has for them, where these are others.
func methods() map[string]string {
	return map[string]string{
		"initialize": "initialize", "discover": "server/discover", "ping": "ping",
		"list_tools": "tools/list", "call_tool": "tools/call",
		"list_prompts": "prompts/list", "get_prompt": "prompts/get",
		"list_resources": "resources/list", "list_resource_templates": "resources/templates/list",
		"read_resource": "resources/read", "subscribe": "resources/subscribe", "unsubscribe": "resources/unsubscribe",
		"complete": "completion/complete", "set_log_level": "logging/setLevel",
		"list_tasks": "tasks/list", "get_task": "tasks/get", "get_task_result": "tasks/result",
		"update_task": "tasks/update", "cancel_task": "tasks/cancel",
		"create_message": "sampling/createMessage", "elicit": "elicitation/create", "list_roots": "roots/list",
	}
}
