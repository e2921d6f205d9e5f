package policy

import (
	"strings"
	"testing"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestIdempotent: only the intent that decides says whether a call may be asked
// again.
func TestIdempotent(t *testing.T) {
	for _, c := range []struct {
		name, intents string
		want          bool
	}{
		{"not said", `[{"name":"i","allow":{"to":"llm"}}]`, false},
		{"said", `[{"name":"i","allow":{"to":"llm"},"idempotent":true}]`, true},
		{"by the one that decides", `[{"name":"a","allow":{"to":"llm"},"idempotent":true},{"name":"b","allow":{"to":"llm"}}]`, true},
		{"by the other", `[{"name":"a","allow":{"to":"llm"}},{"name":"b","allow":{"to":"llm"},"idempotent":true}]`, false},
		{"by one that is not about it", `[{"name":"a","allow":{"to":"vault"},"idempotent":true},{"name":"b","allow":{"to":"llm"}}]`, false},
		{"of what is denied", `[{"name":"a","deny":{"to":"llm"}},{"name":"b","allow":{"to":"llm"},"idempotent":true}]`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compiled(t, small(t, c.intents))
			q := Query{From: id(t, "spiffe://a.test/ai/one"), To: p.Workload("llm"), Service: "chat", Now: noon()}
			if d := p.Decide(&q); d.Idempotent != c.want || strings.Contains(p.Describe(d), "asked again") != c.want {
				t.Errorf("Decide = %+v, %q; want idempotent %t", d, p.Describe(d), c.want)
			}
		})
	}
}

// TestToolCallsAreNeverIdempotent: however an intent comes to be about a service
// that carries tool calls, it may not say so.
func TestToolCallsAreNeverIdempotent(t *testing.T) {
	for _, c := range []struct {
		name, serves, match string
		refused             bool
	}{
		{"by name", "mcp://:1", `"to":"tools","service":"do"`, true},
		{"a2a", "a2a://:1", `"to":"tools","service":"do"`, true},
		{"all that it serves", "mcp://:1", `"to":"tools"`, true},
		{"by its environment", "mcp://:1", `"to":"environment:b"`, true},
		{"by its label", "mcp://:1", `"to":"label:kind=tool"`, true},
		{"by its ID", "mcp://:1", `"to":"spiffe://b.test/*"`, true},
		{"all that there is", "mcp://:1", ``, true},
		{"another service of it", "mcp://:1", `"to":"tools","service":"look"`, false},
		{"another workload", "mcp://:1", `"to":"llm"`, false},
		{"another environment", "mcp://:1", `"to":"environment:c"`, false},
		{"another label", "mcp://:1", `"to":"label:tier=back"`, false},
		{"another ID", "mcp://:1", `"to":"spiffe://b.test/ai/*"`, false},
		{"another protocol", "http://:1", `"to":"tools"`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := small(t, `[{"name":"i","allow":{`+c.match+`},"idempotent":true}]`)
			p.Workloads["tools"] = &policyv1.Workload{
				Id: "spiffe://b.test/tools", Owner: "ops", Labels: map[string]string{"kind": "tool"},
				Serves: map[string]string{"do": c.serves, "look": "http://:2"},
			}
			faults := Validate(p)
			if refused := len(faults) == 1 && faults[0].Path == "intents[0].idempotent" &&
				strings.Contains(faults[0].Message, "intent i: calls of tools are never repeated, and do of tools carries them."); refused != c.refused || !refused && len(faults) > 0 {
				t.Errorf("faults %v, want refused %t", faults, c.refused)
			}
		})
	}
	for _, protocol := range Protocols() {
		if callsTools(protocol) != (protocol == "mcp" || protocol == "a2a") {
			t.Errorf("%s: calls tools %t", protocol, callsTools(protocol))
		}
	}
}
