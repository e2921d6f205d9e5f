package local

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/source"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func values() Values {
	return Values{ReviewBy: "2027-05-23", Tunnels: map[string]string{
		"onprem-1": "127.0.0.1:7001", "aws-1": "127.0.0.1:7002", "azure-1": "[::1]:7003",
	}}
}

// TestPolicyLoads holds the embedded policy to what people's policies are held
// to, its own tests included.
func TestPolicyLoads(t *testing.T) {
	text, err := Policy(values())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "${") {
		t.Errorf("a placeholder is left:\n%s", text)
	}
	p, err := source.Load("policy.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	checked, err := source.Check([]source.File{{Name: "policy.yaml", Text: text}}, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(checked.Warnings) > 0 {
		t.Errorf("the demo's policy has warnings: %v", checked.Warnings)
	}
	c, err := policy.Compile(p, policy.Ref{Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range c.Gateways() {
		if g.Tunnel != values().Tunnels[g.Name] {
			t.Errorf("gateway %s at %q", g.Name, g.Tunnel)
		}
	}
	for authority, want := range map[string]string{
		"llm.azure.mesh:8000": "chat", "llm.azure.mesh:9000": "health", "retriever.aws.mesh": "mcp", "registry.aws.mesh:5000": "models",
	} {
		if _, s, reason := c.Resolve(authority); reason != crossingv1.Reason_REASON_UNSPECIFIED || s.Name != want {
			t.Errorf("Resolve(%q) = %v, %v", authority, s, reason)
		}
	}
}

func TestFillIsStrict(t *testing.T) {
	change := func(f func(*Values)) Values {
		v := values()
		v.Tunnels = maps.Clone(v.Tunnels)
		f(&v)
		return v
	}
	for _, c := range []struct {
		name, text string
		v          Values
		want       string
	}{
		{"no review", string(Template()), change(func(v *Values) { v.ReviewBy = "" }), "no value for ${reviewBy}"},
		{"no tunnel", string(Template()), change(func(v *Values) { delete(v.Tunnels, "aws-1") }), "unknown placeholder ${tunnel.aws-1}"},
		{"empty tunnel", string(Template()), change(func(v *Values) { v.Tunnels["aws-1"] = "" }), "no value for ${tunnel.aws-1}"},
		{"a gateway too many", string(Template()), change(func(v *Values) { v.Tunnels["gcp-1"] = "127.0.0.1:1" }), "no place for the value of ${tunnel.gcp-1}"},
		{"unknown", "${reviewBy} ${tunnels}", Values{ReviewBy: "2027-01-01"}, "unknown placeholder ${tunnels}"},
		{"not closed", "${reviewBy} ${reviewBy", Values{ReviewBy: "2027-01-01"}, "unknown placeholder ${reviewBy"},
		{"not a date", "${reviewBy}", Values{ReviewBy: "soon"}, "not a date"},
		{"more than a date", "${reviewBy}", Values{ReviewBy: "2027-01-01, owner: x"}, "not a date"},
		{"more than an address", "${tunnel.x}", Values{Tunnels: map[string]string{"x": `a:1", dialOut: "b`}}, "not HOST:PORT"},
		{"a placeholder for a value", "${tunnel.x}", Values{Tunnels: map[string]string{"x": "${reviewBy}:1"}}, "not HOST:PORT"},
		{"all at once", "${a} ${b}", Values{}, "unknown placeholder ${b}"},
	} {
		if text, err := Fill([]byte(c.text), c.v); err == nil || text != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if text, err := Fill([]byte("nothing to fill"), Values{}); err != nil || string(text) != "nothing to fill" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestTemplateIsACopy: what one caller does to it no other sees.
func TestTemplateIsACopy(t *testing.T) {
	Template()[0] = 'X'
	if Template()[0] == 'X' {
		t.Error("the template was changed")
	}
}
