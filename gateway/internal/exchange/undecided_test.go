package exchange

import (
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/quota"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestUndecided: what is refused before it is known what it asks for has a record that
// others take, in which nothing allowed it.
func TestUndecided(t *testing.T) {
	header := func(tool string) []l7.Field {
		return []l7.Field{{Name: "mcp-protocol-version", Value: "2026-07-28"}, {Name: "mcp-method", Value: "tools/call"}, {Name: "mcp-name", Value: tool}}
	}
	for _, c := range []struct {
		name   string
		policy *policy.Policy
		req    *listener.Request
		full   bool // the caller has all under way that it may have
		status int
		reason crossingv1.Reason
	}{
		{"another tool in the head", toolServer(t, ""), rpc(call("search"), header("fetch")...), false, 400, crossingv1.Reason_DISAGREES},
		{"a head that allows less", toolServer(t, ""), rpc(call("search"), header("rm")...), false, 400, crossingv1.Reason_DISAGREES},
		{"a content that allows less", toolServer(t, ""), rpc(call("rm"), header("search")...), false, 400, crossingv1.Reason_DISAGREES},
		{"too much under way", smallOnly(t, ""), chat(afterText(10, "small")), true, 429, crossingv1.Reason_OVER_LIMIT},
		{"no JSON", smallOnly(t, ""), chat(`{"model":"small"`), false, 400, crossingv1.Reason_UNREADABLE},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reading(t, c.policy)
			if c.full {
				w.egress.cfg.Quota = quota.New(1)
				w.egress.cfg.Quota.Enter(agent.String())
			}
			r := w.ask(t, c.req)
			if r.head == nil || r.head.Status != c.status || !strings.Contains(strings.ToUpper(r.body.String()), c.reason.String()) {
				t.Errorf("answer %+v, %q; want %d, %s", r.head, r.body.String(), c.status, c.reason)
			}
			rec := crossing.Join(w.near.account(t), nil)
			end := rec.GetEgress()
			if rec.GetState() != crossingv1.Record_DENIED || end.GetReason() != c.reason || end.GetDecision() != crossingv1.Decision_DENY {
				t.Errorf("record %v", rec)
			}
		})
	}
}
