package policy_test

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestAnswerClass: a class of the answer that is higher than the callee's counts; a lower
// one does not, and what nobody knows counts as the last.
func TestAnswerClass(t *testing.T) {
	for _, c := range []struct {
		callee, answer string
		want           crossingv1.Reason
	}{
		{"public", "", 0},
		{"public", "internal", 0},
		{"public", "restricted", crossingv1.Reason_DENIED_BY_INTENT},
		{"public", "nothing of the kind", crossingv1.Reason_DENIED_BY_INTENT},
		{"restricted", "", crossingv1.Reason_DENIED_BY_INTENT},
		{"restricted", "public", crossingv1.Reason_DENIED_BY_INTENT},
	} {
		p := policytest.Estate(t, 1, func(p *policyv1.Policy) {
			p.DataClasses = []string{"public", "internal", "restricted"}
			p.Workloads["llm"].Data.Class = c.callee
			p.Intents = append(p.Intents, &policyv1.Intent{Name: "stays", Deny: &policyv1.Match{Data: "restricted", Leaving: "environment:far"}})
		})
		q := policy.Query{From: p.Workload("agent").ID, To: p.Workload("llm"), Service: "chat", Answer: c.answer, Now: time.Now()}
		q.Attributes.SetString(policy.HTTPMethod, "POST")
		q.Attributes.SetString(policy.HTTPPath, "/v1/chat")
		if d := p.Decide(&q); d.Reason != c.want || d.Allow != (c.want == 0) {
			t.Errorf("%s, answer %q: %+v", c.callee, c.answer, d)
		}
	}
}
