package authz

import (
	"net/http"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/dataclass"
)

var _ label.Chains = (*certs.Source)(nil)

// labelled is what came as a label, before any policy is asked.
type labelled struct {
	good *label.Label
	bad  string // what is wrong with it
}

// TakeLabels makes it take labels whose labelers' SVIDs c verifies; without, none is
// good. It is called before the first decision.
func (a *Authorizer) TakeLabels(c label.Chains) *Authorizer {
	a.labels = c
	return a
}

// label verifies what came as a label of the request. The egress gateway's word for it
// counts for nothing here.
func (a *Authorizer) label(v *Verdict, caller spiffeid.ID, token string, head *l7.RequestHead, now time.Time) {
	switch {
	case token == "":
	case a.labels == nil:
		v.labelled.bad = "this gateway can verify none"
	case head.Method == http.MethodConnect:
		v.labelled.bad = "bytes that go both ways have no content that could be labelled before"
	default:
		v.labelled = a.counts(label.Verify(token, label.Request{Caller: caller, Host: v.Workload.Host(), Line: head.Line()}, a.labels, now))
	}
}

// counts is what a label comes to whose form was verified.
func (a *Authorizer) counts(l *label.Label, err error) labelled {
	if err != nil {
		return labelled{bad: err.Error()}
	}
	if acts := a.policies.Acts(); acts != nil {
		if reason, detail := quarantined(acts, l.Labeler); reason != crossingv1.Reason_REASON_UNSPECIFIED {
			return labelled{bad: "its labeler counts for nothing: " + detail}
		}
	}
	return labelled{good: l}
}

// classify finds of what class the data is, and says what is wrong with the label that
// came, "" if nothing. That the labeler is of the caller's environment is known: it is
// of its trust domain.
func (v *Verdict) classify(p *policy.Policy, q *policy.Query) (fault string) {
	class := dataclass.Of(p, q.From)
	v.DataClass, v.DataClassSource, v.Label = class.Name, class.Source, nil
	l := v.labelled.good
	if l == nil {
		return v.labelled.bad
	}
	if fault = unregistered(p, l); fault != "" {
		return fault
	}
	v.DataClass, v.DataClassSource, v.Label = l.Class, crossingv1.Operation_LABEL, l
	q.Attributes.SetString(policy.DataClass, l.Class)
	return ""
}

// unregistered says why a label counts for nothing by a policy, "" if it counts.
func unregistered(p *policy.Policy, l *label.Label) string {
	switch by := p.WorkloadByID(l.Labeler); {
	case by == nil:
		return "its labeler " + l.Labeler.String() + " is no workload of the policy"
	case !by.MayLabel:
		return "its labeler " + l.Labeler.String() + " may not label"
	case !slices.Contains(p.DataClasses(), l.Class):
		return "the policy knows no class of its name"
	}
	return ""
}

// whole says that without its label the request would not be allowed, or not by that
// intent: nothing of another content may then have gone on in the label's name.
func (v *Verdict) whole(p *policy.Policy, q policy.Query, d policy.Decision) bool {
	if v.Label == nil {
		return false
	}
	if class := dataclass.Of(p, q.From); class.Name != "" {
		q.Attributes.SetString(policy.DataClass, class.Name)
	}
	without := p.Decide(&q)
	return !without.Allow || without.Intent != d.Intent
}
