package exchange

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestRefusedAtEgress: each way in which an egress gateway refuses is recorded
// with what was asked for and who answers for it, in a half that the control
// plane takes; the caller is told the same. A world checks all that is spooled.
func TestRefusedAtEgress(t *testing.T) {
	limited := func(p *policyv1.Policy) { p.Intents[0].Limits = map[string]string{"requests": "5/second"} }
	chat := func(change func(*listener.Request)) *listener.Request {
		r := request("POST", "/v1/chat", "")
		if change != nil {
			change(r)
		}
		return r
	}
	at := func(authority string) *listener.Request {
		return chat(func(r *listener.Request) { r.Head.Authority = authority })
	}
	for _, c := range []struct {
		name      string
		policy    func(*policyv1.Policy)
		world     func(*world)
		req       *listener.Request
		status    int
		reason    crossingv1.Reason
		owner     string
		authority string
		detail    string
	}{
		{"no policy", nil, func(w *world) { w.policies = nil }, chat(nil), 403, crossingv1.Reason_NO_POLICY, "", "llm.far.mesh:8000", ""},
		{"a policy without this environment", nil, func(w *world) {
			w.policies.Current = policytest.Estate(t, 1, func(p *policyv1.Policy) { elsewhere(p) })
		}, chat(nil), 403, crossingv1.Reason_NO_POLICY, "", "llm.far.mesh:8000", ""},
		{"no such host", nil, nil, at("169.254.169.254"), 403, crossingv1.Reason_UNKNOWN_DESTINATION, "team", "169.254.169.254", ""},
		{"no such port", nil, nil, at("llm.far.mesh:1"), 403, crossingv1.Reason_UNKNOWN_SERVICE, "ml-team", "llm.far.mesh:1", ""},
		{"a tunnel to elsewhere", nil, nil, chat(func(r *listener.Request) {
			r.Head = l7.RequestHead{Method: "CONNECT", Authority: "example.com:443"}
		}), 403, crossingv1.Reason_UNKNOWN_DESTINATION, "team", "example.com:443", ""},
		{"no transition", nil, nil, at("tool.near.mesh:8080"), 403, crossingv1.Reason_NO_TRANSITION, "team", "tool.near.mesh:8080", ""},
		{"a foreign caller", nil, nil, chat(func(r *listener.Request) {
			r.Caller.ID = spiffeid.RequireFromString("spiffe://far.test/ai/llm")
		}), 403, crossingv1.Reason_FOREIGN_IDENTITY, "ml-team", "llm.far.mesh:8000", ""},
		{"a gateway as a caller", nil, nil, chat(func(r *listener.Request) { r.Caller.ID = near }), 401, crossingv1.Reason_BAD_IDENTITY, "ml-team", "llm.far.mesh:8000", ""},
		{"no intent", nil, nil, request("POST", "/v2/chat", ""), 403, crossingv1.Reason_NO_INTENT, "ml-team", "llm.far.mesh:8000", ""},
		{"denied", nil, nil, request("POST", "/v1/admin", ""), 403, crossingv1.Reason_DENIED_BY_INTENT, "ml-team", "llm.far.mesh:8000", ""},
		{"an obligation", limited, nil, chat(nil), 403, crossingv1.Reason_NOT_ENFORCEABLE, "ml-team", "llm.far.mesh:8000", "limits"},
		{"two ways to read it", nil, nil, request("POST", "/v1/a;b", ""), 400, crossingv1.Reason_MALFORMED, "ml-team", "llm.far.mesh:8000", "more than one way"},
		{"no gRPC method", nil, nil, request("POST", "/v1", "", l7.Field{Name: "content-type", Value: "application/grpc"}), 200, crossingv1.Reason_MALFORMED, "ml-team", "llm.far.mesh:8000", "/SERVICE/METHOD"},
		{"an upgrade of what is allowed", nil, nil, chat(func(r *listener.Request) { r.Upgrade = "websocket" }), 501, crossingv1.Reason_NOT_ENFORCEABLE, "ml-team", "llm.far.mesh:8000", "upgrade to websocket"},
		{"an upgrade of what is denied", nil, nil, chat(func(r *listener.Request) { r.Upgrade, r.Head.Path = "websocket", "/v1/admin" }), 403, crossingv1.Reason_DENIED_BY_INTENT, "ml-team", "llm.far.mesh:8000", ""},
		{"an upgrade at nobody's", nil, nil, chat(func(r *listener.Request) { r.Upgrade, r.Head.Authority = "websocket", "nobody.mesh" }), 403, crossingv1.Reason_UNKNOWN_DESTINATION, "team", "nobody.mesh", ""},
		{"no tunnel", nil, func(w *world) { w.unreachable = errors.New("nobody\nthere") }, chat(nil), 503, crossingv1.Reason_UNREACHABLE, "ml-team", "llm.far.mesh:8000", `nobody\nthere`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, policytest.Estate(t, 1, c.policy))
			if c.world != nil {
				c.world(w)
			}
			r := w.ask(t, c.req)
			h := w.near.account(t).Open
			if r.head.Status != c.status || r.head.Fields.Get(crossingField) != h.GetId() || !strings.Contains(told(r), c.owner) {
				t.Errorf("answer %v %q, want status %d, crossing %s, owner %q", r.head, told(r), c.status, h.GetId(), c.owner)
			}
			if h.GetEnd().GetReason() != c.reason || h.GetTransition().GetOwner() != c.owner || h.GetOperation().GetAuthority() != c.authority ||
				!strings.Contains(h.GetEnd().GetDetail(), c.detail) {
				t.Errorf("half %v", h)
			}
			w.journal.never(t, "far open")
		})
	}
}

// told is what an answer says to people, in whatever form.
func told(r *reply) string { return r.body.String() + r.head.Fields.Get("grpc-message") }

// elsewhere renames the environment near.
func elsewhere(p *policyv1.Policy) {
	p.Environments["else"] = p.Environments["near"]
	delete(p.Environments, "near")
	p.Transitions[0].From = "else"
}

// TestEveryReasonUnread: whatever a listener refuses a known caller for, the
// half is one that the control plane takes, with a policy and without.
func TestEveryReasonUnread(t *testing.T) {
	for number, name := range crossingv1.Reason_name {
		for _, armed := range []bool{true, false} {
			w := newWorld(t, nil)
			if !armed {
				w.policies = nil
			}
			id, _ := w.egress.RefuseKnown(listener.Caller{ID: agent}, &l7.RequestHead{}, crossingv1.Reason(number), name)
			if h := w.near.account(t).Open; h.GetId() != id || h.GetEnd().GetDetail() != name {
				t.Errorf("%s: id %q, half %v", name, id, h)
			}
		}
	}
}

// TestOutageIsNoDenial: what the policy allowed and nobody could carry is no
// denial, whether the way was lost before it opened or after.
func TestOutageIsNoDenial(t *testing.T) {
	before, after := newWorld(t, nil), newWorld(t, nil)
	before.unreachable = errors.New("nobody there")
	after.tunnel.open = errors.New("lost just now")
	for _, w := range []*world{before, after} {
		r := w.ask(t, request("POST", "/v1/chat", "hello"))
		if r.head.Status != http.StatusServiceUnavailable {
			t.Errorf("status %d", r.head.Status)
		}
		end := crossing.Join(w.near.account(t), nil).GetEgress()
		if end.GetDecision() != crossingv1.Decision_ALLOW || end.GetIntent() != "chat" || end.GetReason() != crossingv1.Reason_UNREACHABLE {
			t.Errorf("egress %v", end)
		}
	}
	if rec := crossing.Join(before.near.account(t), nil); rec.GetState() != crossingv1.Record_REFUSED || rec.GetEgress().GetClose() != crossingv1.Cause_REFUSED {
		t.Errorf("record %v", rec)
	}
}

// TestRefusedAtIngress: each way in which an ingress gateway refuses gives a
// half that the control plane takes, with an owner wherever it has a policy.
func TestRefusedAtIngress(t *testing.T) {
	shut := func(p *policyv1.Policy) { p.Intents = p.Intents[1:] }
	for _, c := range []struct {
		name   string
		world  func(*world)
		reason crossingv1.Reason
		owner  string
	}{
		{"another policy named", func(w *world) {
			w.tunnel.lied = func(h *crossingv1.Header) { h.Policy.Serial = 7 }
		}, crossingv1.Reason_POLICY_MISMATCH, "ml-team"},
		{"a foreign source", func(w *world) {
			w.tunnel.lied = func(h *crossingv1.Header) { h.Source = "spiffe://elsewhere.test/ai/agent" }
		}, crossingv1.Reason_FOREIGN_IDENTITY, "ml-team"},
		{"another destination", func(w *world) {
			w.tunnel.lied = func(h *crossingv1.Header) { h.Destination = "spiffe://elsewhere.test/ai/llm" }
		}, crossingv1.Reason_MALFORMED, "ml-team"},
		{"another kind", func(w *world) {
			w.tunnel.lied = func(h *crossingv1.Header) { h.Kind = crossingv1.Header_BYTES }
		}, crossingv1.Reason_MALFORMED, "ml-team"},
		{"a stricter policy there", func(w *world) {
			w.there = policytest.Estate(t, 2, shut)
		}, crossingv1.Reason_NO_INTENT, "ml-team"},
		{"no policy there", func(w *world) { w.unarmed = true }, crossingv1.Reason_NO_POLICY, ""},
		{"a peer that is none", func(w *world) {
			w.there = policytest.Estate(t, 2, func(p *policyv1.Policy) {
				p.Environments["near"].Gateways = map[string]*policyv1.Gateway{"near-2": {Tunnel: "10.1.0.2:1"}}
			})
		}, crossingv1.Reason_UNKNOWN_PEER, "team"},
		{"no transition there", func(w *world) {
			w.there = policytest.Estate(t, 2, func(p *policyv1.Policy) { p.Transitions[0].From, p.Transitions[0].To = "far", "near" })
		}, crossingv1.Reason_NO_TRANSITION, "team"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			c.world(w)
			w.ask(t, request("POST", "/v1/chat", ""))
			a := w.far.account(t)
			if a.Open.GetEnd().GetReason() != c.reason || a.Close.GetReason() != c.reason || a.Open.GetTransition().GetOwner() != c.owner {
				t.Errorf("opened %v, closed %v", a.Open, a.Close)
			}
			if (c.reason == crossingv1.Reason_MALFORMED) != (a.Open.GetEnd().GetDetail() != "") {
				t.Errorf("detail %q of %s", a.Open.GetEnd().GetDetail(), c.reason)
			}
			w.journal.never(t, "destination asked")
		})
	}
}
