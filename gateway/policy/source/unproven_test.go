package source

import (
	"strings"
	"testing"
	"time"
)

// TestUnproven: a proof that another allow makes needless is said where it is
// required.
func TestUnproven(t *testing.T) {
	const require = "{name: p, allow: {from: orchestrator, to: retriever, service: mcp, methods: [POST], paths: [/mcp/*]}, require: workload-proof}"
	for _, c := range []struct {
		name, other string
		warned      bool
	}{
		{"all that there is", `{}`, true},
		{"by environment", `{from: "environment:onprem", to: "environment:aws"}`, true},
		{"by name, some of the paths", `{from: orchestrator, to: retriever, paths: [/mcp/a]}`, true},
		{"all paths", `{from: orchestrator, to: retriever, paths: [/*]}`, true},
		{"other paths", `{from: orchestrator, to: retriever, paths: [/mcp, /x/*]}`, false},
		{"other methods", `{from: orchestrator, to: retriever, methods: [GET]}`, false},
		{"another service", `{from: orchestrator, to: retriever, service: models}`, false},
		{"another caller", `{from: llm, to: retriever}`, false},
		{"another callee", `{from: orchestrator, to: llm}`, false},
		{"a pattern that the policy alone cannot tell", `{from: "spiffe://onprem.acme.example/ai/*"}`, false},
	} {
		for _, more := range []struct {
			text  string
			quiet bool
		}{{"", false}, {", when: http.method == \"GET\"", true}, {", limits: {requests: 1/day}", true}, {", require: workload-proof", true}} {
			text := strings.Replace(exampleText(t), `mcp: "mcp://:8080/mcp"`, `mcp: "mcp://:8080/mcp", models: "oci://:1"`, 1)
			text = strings.Replace(text, "intents:\n", "intents:\n  - "+require+"\n  - {name: q, allow: "+c.other+more.text+"}\n", 1)
			checked, err := Check(one(text), time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
			if err != nil {
				t.Fatalf("%s%s: %v", c.name, more.text, err)
			}
			want := "83:116: intent p: orchestrator may call retriever without a proof too, by intent q"
			if got := strings.Contains(checked.Warnings.Error(), want); got != (c.warned && !more.quiet) {
				t.Errorf("%s%s: %v", c.name, more.text, checked.Warnings)
			}
			if strings.Count(checked.Warnings.Error(), "without a proof") > 1 {
				t.Errorf("%s%s: said twice: %v", c.name, more.text, checked.Warnings)
			}
		}
	}
}
