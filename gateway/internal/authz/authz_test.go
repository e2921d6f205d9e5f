package authz

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var (
	now    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	agent  = spiffeid.RequireFromString("spiffe://near.test/ai/agent")
	farGW  = spiffeid.RequireFromString("spiffe://far.test/sallyport/gateway/far-1")
	nearGW = spiffeid.RequireFromString("spiffe://near.test/sallyport/gateway/near-1")
)

// held is what a gateway holds.
type held struct {
	p    *xdsclient.Policies
	acts *act.Set
}

func (h held) Acts() *act.Set { return h.acts }

func (h held) Policies() *xdsclient.Policies { return h.p }

func holding(p *policy.Policy) held { return held{p: &xdsclient.Policies{Current: p}} }

func post(authority, path string) *l7.RequestHead {
	return &l7.RequestHead{Method: "POST", Authority: authority, Path: path}
}

func TestEgress(t *testing.T) {
	p := policytest.Estate(t, 1, nil)
	listed := policytest.Estate(t, 1, requiring("ab"))
	for _, c := range []struct {
		name   string
		held   held
		caller spiffeid.ID
		head   *l7.RequestHead
		want   crossingv1.Reason
		owner  string
	}{
		{"allowed", holding(p), agent, post("llm.far.mesh:8000", "/v1/chat?x=1"), 0, "ml-team"},
		{"no policy", held{}, agent, post("llm.far.mesh:8000", "/v1/chat"), crossingv1.Reason_NO_POLICY, ""},
		{"none in force", holding(nil), agent, post("llm.far.mesh:8000", "/v1/chat"), crossingv1.Reason_NO_POLICY, ""},
		{"foreign caller", holding(p), spiffeid.RequireFromString("spiffe://far.test/ai/llm"), post("llm.far.mesh:8000", "/v1/chat"), crossingv1.Reason_FOREIGN_IDENTITY, "ml-team"},
		{"unknown destination", holding(p), agent, post("nobody.far.mesh", "/"), crossingv1.Reason_UNKNOWN_DESTINATION, "team"},
		{"unknown service", holding(p), agent, post("llm.far.mesh:1", "/"), crossingv1.Reason_UNKNOWN_SERVICE, "ml-team"},
		{"own environment", holding(p), agent, post("tool.near.mesh", "/"), crossingv1.Reason_NO_TRANSITION, "team"},
		{"no intent", holding(p), agent, post("llm.far.mesh:8000", "/v2/chat"), crossingv1.Reason_NO_INTENT, "ml-team"},
		{"denied", holding(p), agent, post("llm.far.mesh:8000", "/v1/admin"), crossingv1.Reason_DENIED_BY_INTENT, "ml-team"},
		{"ambiguous path", holding(p), agent, post("llm.far.mesh:8000", "/v1/../admin"), crossingv1.Reason_MALFORMED, "ml-team"},
		{"bytes hide what an allow asks for", holding(p), agent, &l7.RequestHead{Method: "CONNECT", Authority: "llm.far.mesh:8000"}, crossingv1.Reason_DENIED_BY_INTENT, "ml-team"},
		{"obligation", holding(listed), agent, post("llm.far.mesh:8000", "/v1/chat"), 0, "ml-team"},
		{"obligation that bytes hide", holding(listed), agent, &l7.RequestHead{Method: "CONNECT", Authority: "llm.far.mesh:8000"}, crossingv1.Reason_NOT_ENFORCEABLE, "ml-team"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := New(nearGW, "near", c.held).Egress(c.caller, c.head, now)
			if v.Reason != c.want || v.Allow != (c.want == 0) || v.Owner() != c.owner {
				t.Errorf("allow %t, reason %s, owner %q, want %s, %q", v.Allow, v.Reason, v.Owner(), c.want, c.owner)
			}
		})
	}
}

// header is what an honest peer says.
func header(serial uint64) *crossingv1.Header {
	return &crossingv1.Header{
		Source: agent.String(), Destination: "spiffe://far.test/ai/llm", Workload: "llm", Service: "chat",
		Policy: &crossingv1.PolicyRef{Serial: serial, Revision: policytest.Revision(serial)},
	}
}

func TestIngress(t *testing.T) {
	one, two := policytest.Estate(t, 1, nil), policytest.Estate(t, 2, nil)
	shut := policytest.Estate(t, 3, func(p *policyv1.Policy) { p.Intents = p.Intents[1:] })
	good := post("llm.far.mesh:8000", "/v1/chat")
	for _, c := range []struct {
		name string
		held held
		peer spiffeid.ID
		head *l7.RequestHead
		say  func(h *crossingv1.Header)
		want crossingv1.Reason
	}{
		{"allowed", holding(one), nearGW, good, nil, 0},
		{"no policy", held{}, nearGW, good, nil, crossingv1.Reason_NO_POLICY},
		{"peer is no gateway", holding(one), agent, good, nil, crossingv1.Reason_UNKNOWN_PEER},
		{"peer of the own environment", holding(one), spiffeid.RequireFromString("spiffe://far.test/sallyport/gateway/far-1"), good, nil, crossingv1.Reason_UNKNOWN_PEER},
		{"peer speaks for another trust domain", holding(one), nearGW, good, func(h *crossingv1.Header) { h.Source = "spiffe://other.test/ai/agent" }, crossingv1.Reason_FOREIGN_IDENTITY},
		{"peer speaks for nobody", holding(one), nearGW, good, func(h *crossingv1.Header) { h.Source = "agent" }, crossingv1.Reason_FOREIGN_IDENTITY},
		{"peer names no policy", holding(one), nearGW, good, func(h *crossingv1.Header) { h.Policy = nil }, crossingv1.Reason_POLICY_MISMATCH},
		{"peer names a serial that is not held", holding(one), nearGW, good, func(h *crossingv1.Header) { h.Policy.Serial = 9 }, crossingv1.Reason_POLICY_MISMATCH},
		{"peer names another revision", holding(one), nearGW, good, func(h *crossingv1.Header) { h.Policy.Revision = "sha256:ff" }, crossingv1.Reason_POLICY_MISMATCH},
		{"prepared here, in force there", held{p: &xdsclient.Policies{Current: two, Prepared: one}}, nearGW, good, nil, 0},
		{"prepared here, and it would be denied", held{p: &xdsclient.Policies{Current: shut, Prepared: one}}, nearGW, good, nil, crossingv1.Reason_NO_INTENT},
		{"header and head disagree on the service", holding(one), nearGW, good, func(h *crossingv1.Header) { h.Service = "health" }, crossingv1.Reason_MALFORMED},
		{"header and head disagree on the workload", holding(one), nearGW, good, func(h *crossingv1.Header) { h.Workload = "tool" }, crossingv1.Reason_MALFORMED},
		{"header and head disagree on the identity", holding(one), nearGW, good, func(h *crossingv1.Header) { h.Destination = "spiffe://far.test/ai/other" }, crossingv1.Reason_MALFORMED},
		{"destination elsewhere", holding(one), nearGW, post("tool.near.mesh", "/"), nil, crossingv1.Reason_UNKNOWN_DESTINATION},
		{"decided again", holding(one), nearGW, post("llm.far.mesh:8000", "/v1/admin"), nil, crossingv1.Reason_DENIED_BY_INTENT},
		{"ambiguous path", holding(one), nearGW, post("llm.far.mesh:8000", "/v1//chat"), nil, crossingv1.Reason_MALFORMED},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := header(1)
			if c.say != nil {
				c.say(h)
			}
			v := New(farGW, "far", c.held).Ingress(c.peer, h, c.head, now)
			if v.Reason != c.want || v.Allow != (c.want == 0) {
				t.Errorf("allow %t, reason %s, want %s", v.Allow, v.Reason, c.want)
			}
			if c.peer == nearGW && c.held.p != nil && v.Owner() != "ml-team" {
				t.Errorf("owner %q, want ml-team", v.Owner())
			}
		})
	}
}

// TestNamedPolicyDecidesToo: the egress gateway's policy must allow what this
// gateway's own does.
func TestNamedPolicyDecidesToo(t *testing.T) {
	open := policytest.Estate(t, 2, nil)
	shut := policytest.Estate(t, 1, func(p *policyv1.Policy) { p.Intents = p.Intents[1:] })
	h := held{p: &xdsclient.Policies{Current: open, Prepared: shut}}
	v := New(farGW, "far", h).Ingress(nearGW, header(1), post("llm.far.mesh:8000", "/v1/chat"), now)
	if v.Allow || v.Reason != crossingv1.Reason_NO_INTENT || v.Policy.Serial != 2 || v.Named.Serial != 1 {
		t.Errorf("allow %t, reason %s, policy %d, named %d", v.Allow, v.Reason, v.Policy.Serial, v.Named.Serial)
	}
}

// TestIdempotent: a call may be asked again only if the intents that decide, in
// the policy in force and in the one that the peer names, both say so.
func TestIdempotent(t *testing.T) {
	says := func(serial uint64) *policy.Policy {
		return policytest.Estate(t, serial, func(p *policyv1.Policy) { p.Intents[0].Idempotent = true })
	}
	silent := func(serial uint64) *policy.Policy { return policytest.Estate(t, serial, nil) }
	good := post("llm.far.mesh:8000", "/v1/chat")
	v := New(nearGW, "near", holding(says(1))).Egress(agent, good, now)
	if !v.Idempotent {
		t.Error("egress: the intent says so, the verdict does not")
	}
	if v.deny(crossingv1.Reason_NO_INTENT); v.Idempotent {
		t.Error("a denial is idempotent")
	}
	for _, c := range []struct {
		name    string
		current *policy.Policy
		named   *policy.Policy
		want    bool
	}{
		{"both", says(2), says(1), true},
		{"only here", says(2), silent(1), false},
		{"only there", silent(2), says(1), false},
	} {
		v := New(farGW, "far", held{p: &xdsclient.Policies{Current: c.current, Prepared: c.named}}).Ingress(nearGW, header(1), good, now)
		if !v.Allow || v.Idempotent != c.want {
			t.Errorf("%s: allow %t, idempotent %t, want %t", c.name, v.Allow, v.Idempotent, c.want)
		}
	}
}

func TestUndecidedIsDurable(t *testing.T) {
	if v := new(Verdict); !v.Durable() {
		t.Error("a crossing of no transition need not be durable")
	}
}

// TestGoesOnIfSaid: nothing goes on without its record unless the transition says so.
func TestGoesOnIfSaid(t *testing.T) {
	for _, c := range []struct {
		transition *policy.Transition
		want       bool
	}{{nil, false}, {&policy.Transition{}, false}, {&policy.Transition{GoesOn: true}, true}} {
		if v := (&Verdict{Transition: c.transition}); v.GoesOn() != c.want {
			t.Errorf("%+v: GoesOn = %t", c.transition, v.GoesOn())
		}
	}
}

// FuzzUnambiguous: a path that is let through means one thing to every reader:
// as it stands, cleaned, and decoded.
func FuzzUnambiguous(f *testing.F) {
	for _, s := range []string{"/", "/v1/chat", "/a/", "/a//b", "/a/./b", "/a/../b", "/%2e%2e/", "/a%2fb", "/a%252fb", "\\a", "/a;b", "/%00", "*", "", "/é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if !unambiguous(p) || p == "*" {
			return
		}
		clean := path.Clean(p)
		if strings.HasSuffix(p, "/") && p != "/" {
			clean += "/"
		}
		if clean != p {
			t.Errorf("%q is also %q", p, clean)
		}
		decoded, err := url.PathUnescape(p)
		if err != nil {
			return // refused as a path elsewhere (l7.CheckPath)
		}
		if strings.Count(decoded, "/") != strings.Count(p, "/") || strings.ContainsAny(decoded, "\\\x00") {
			t.Errorf("%q decodes to %q", p, decoded)
		}
		if again := path.Clean(decoded); strings.TrimSuffix(decoded, "/") != strings.TrimSuffix(again, "/") {
			t.Errorf("%q decodes to %q, which is also %q", p, decoded, again)
		}
	})
}
