package policy

import (
	"testing"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestPrivacyCompiles: what a policy says of credentials and of content is at hand where
// a crossing is decided.
func TestPrivacyCompiles(t *testing.T) {
	p := small(t, `[{"name":"talk","allow":{"from":"one","to":"llm","service":"chat"},"content":{"kept":"hash","retention":"7d"}},
	  {"name":"rest","allow":{"from":"one","to":"vault"}}]`)
	p.Workloads["llm"].Credentials = map[string]string{"chat": "openai-key"}
	c := compiled(t, p)
	if s := c.Workload("llm").Service("chat"); s.Credential != "openai-key" {
		t.Errorf("chat is shown %q", s.Credential)
	}
	if s := c.Workload("llm").Service("health"); s.Credential != "" {
		t.Errorf("health is shown %q", s.Credential)
	}
	if k, ok := c.Kept("talk"); !ok || k.How != "hash" || k.Days != 7 {
		t.Errorf("of talk is kept %+v, %v", k, ok)
	}
	for _, intent := range []string{"rest", "", "nobody's"} {
		if k, ok := c.Kept(intent); ok {
			t.Errorf("of %q is kept %+v", intent, k)
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.Kept("rest") }); n != 0 {
		t.Errorf("%v allocations to learn that nothing is kept", n)
	}
	plain := compiled(t, small(t, `[]`))
	if _, ok := plain.Kept("talk"); ok {
		t.Error("something is kept without being asked for")
	}
	if f := Validate(&policyv1.Policy{Version: 1, Policy: "x", Workloads: map[string]*policyv1.Workload{"w": {Credentials: map[string]string{"s": "k"}}}}); len(f) == 0 {
		t.Error("a credential of a workload that serves nothing is valid")
	}
}
