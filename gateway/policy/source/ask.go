package source

import (
	"fmt"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// runTests asks a policy its own tests at a moment and says which gateways would
// answer otherwise than they expect. A test without a service is asked of each service
// that the callee serves.
func runTests(p *policyv1.Policy, compiled *policy.Policy, now time.Time) policy.Faults {
	var f policy.Faults
	for i, t := range p.GetTests() {
		for _, service := range asked(t, compiled) {
			if wrong := ask(t, compiled, service, now); wrong != "" {
				f = append(f, policy.Fault{Path: fmt.Sprintf("tests[%d]", i), Message: subject(t) + ": " + wrong})
				break
			}
		}
	}
	return f
}

// asked are the services that a test is about.
func asked(t *policyv1.Test, compiled *policy.Policy) []string {
	to := compiled.Workload(t.GetTo())
	if t.GetService() != "" || to == nil || len(to.Services) == 0 {
		return []string{t.GetService()}
	}
	var all []string
	for i := range to.Services {
		all = append(all, to.Services[i].Name)
	}
	return all
}

// ask says what is wrong with the answer to a test, "" if nothing. Limits and
// requirements are obligations outside of what a policy permits: a test does not ask
// whether they are met.
func ask(t *policyv1.Test, compiled *policy.Policy, service string, now time.Time) string {
	e, err := policy.Explain(compiled, t.GetFrom(), t.GetTo(), service, t.GetWith(), now)
	if err != nil {
		return err.Error()
	}
	allowed, got := e.Decision.Allow, e.Summary
	if service != t.GetService() {
		got = "service " + service + " " + got
	}
	switch {
	case allowed != (t.GetExpect() == "allow"):
		return fmt.Sprintf("expected %s, but %s", t.GetExpect(), got)
	case t.GetBy() != "" && e.Decision.Intent != t.GetBy():
		return fmt.Sprintf("expected %s by %s, but %s", t.GetExpect(), t.GetBy(), got)
	}
	return ""
}

// subject names a test by what it asks.
func subject(t *policyv1.Test) string {
	s := "test " + t.GetFrom() + " ─► " + t.GetTo()
	if t.GetService() != "" {
		s += " " + t.GetService()
	}
	return s
}
