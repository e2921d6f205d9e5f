package policy

import (
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

// sample stands for "*" where a workload's pattern is asked for as one ID.
const sample = "any"

// asked are the services that a question is about.
func asked(service string, to *Workload) []string {
	if service != "" || to == nil || len(to.Services) == 0 {
		return []string{service}
	}
	var all []string
	for i := range to.Services {
		all = append(all, to.Services[i].Name)
	}
	return all
}

// testSubject names a test by what it asks.
func testSubject(t *policyv1.Test) string {
	s := "test " + t.GetFrom() + " ─► " + t.GetTo()
	if t.GetService() != "" {
		s += " " + t.GetService()
	}
	return s
}

// Describe says a decision in a phrase, such as "denied by keep-home" or
// "denied: no intent allows it".
func (p *Policy) Describe(d Decision) string {
	switch {
	case d.Allow:
		return "allowed by " + d.Intent + terms(d) + d.Guard.needs()
	case d.Intent != "":
		return "denied by " + d.Intent
	}
	switch d.Reason {
	case crossingv1.Reason_NO_INTENT:
		return "denied: no intent allows it"
	case crossingv1.Reason_NO_TRANSITION:
		return "denied: there is no such transition, so nobody owns it"
	case crossingv1.Reason_BAD_IDENTITY:
		return "denied: the caller is no workload of the policy's environments"
	case crossingv1.Reason_UNKNOWN_DESTINATION:
		return "denied: no workload has that name"
	case crossingv1.Reason_UNKNOWN_SERVICE:
		return "denied: the callee serves no such thing"
	}
	return "denied: " + d.Reason.String()
}

// terms are what an allow adds.
func terms(d Decision) string {
	switch {
	case d.Limited, d.Digest:
		return ", under its limits and requirements"
	case d.Proof && d.Idempotent:
		return ", with a proof of the caller's own, and may be asked again"
	case d.Proof:
		return ", with a proof of the caller's own"
	case d.Idempotent:
		return ", and may be asked again"
	}
	return ""
}

// caller is the SPIFFE ID of a workload's name or of an ID's text. Where a
// workload stands for a pattern, each "*" is taken as the segment "any".
func (p *Policy) caller(from string) (spiffeid.ID, error) {
	if strings.Contains(from, "://") {
		id, err := spiffeid.FromString(from)
		if err != nil {
			return id, fmt.Errorf("%q is not a SPIFFE ID: %w", from, err)
		}
		return id, nil
	}
	w := p.byName[from]
	switch {
	case w == nil:
		return spiffeid.ID{}, fmt.Errorf("unknown workload %q%s", from, nearest.Hint(from, p.workloadNames()))
	case w.Pattern == "":
		return w.ID, nil
	}
	return spiffeid.FromString(strings.ReplaceAll(w.Pattern, anySeg, sample))
}

func (p *Policy) workloadNames() []string {
	names := make([]string, len(p.workloads))
	for i, w := range p.workloads {
		names[i] = w.Name
	}
	return names
}
