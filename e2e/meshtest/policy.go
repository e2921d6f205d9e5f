package meshtest

import (
	"strings"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/deploy/local"
)

// Plain is the demo's policy for tests of all that is not about AI services: it looks at
// methods and paths where the demo's looks at what is asked for. It has the demo's
// placeholders.
func Plain() []byte {
	text := string(local.Template())
	for _, edit := range [...]struct{ from, until, to string }{
		{"    allow: {from: orchestrator, to: llm, service: chat}\n    when: ai.operation == \"chat\"", "\n", "    allow: {from: orchestrator, to: llm, service: chat, methods: [POST], paths: [/v1/chat/completions]}\n"},
		{"    allow: {from: orchestrator, to: llm, service: chat}\n    when: ai.operation == \"list_models\"", "\n", "    allow: {from: orchestrator, to: llm, service: chat, methods: [GET], paths: [/v1/models]}\n"},
		{"    allow: {from: orchestrator, to: retriever, service: mcp}\n    when: ", "\n", "    allow: {from: orchestrator, to: retriever, service: mcp, methods: [POST], paths: [/mcp]}\n"},
		{"  - name: embed-questions\n", "days are UTC\n", ""},
		{"\n# Run by ", "", ""}, // its tests ask for what it does not look at
	} {
		before, rest, found := strings.Cut(text, edit.from)
		_, after, ended := strings.Cut(rest, edit.until)
		if !found || !ended {
			panic("the demo's policy has no " + edit.from)
		}
		if edit.until == "" {
			after = ""
		}
		text = before + edit.to + after
	}
	return []byte(text + "\n")
}

// Demo has a mesh begin with the demo's own policy.
func Demo(cfg *localmesh.Config) { cfg.Policy = local.Template() }
