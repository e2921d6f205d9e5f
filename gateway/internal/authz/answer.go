package authz

import (
	"net/http"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/dataclass"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Answer is what a gateway makes of an answer that came with a label.
type Answer struct {
	Class  string            // of its content; "" if the label is not good
	Label  *label.Label      // what says so, or that it is of a lower one: the content must match it; nil if it is not good
	Reason crossingv1.Reason // why it does not pass; REASON_UNSPECIFIED if it does
	Detail string            // of the reason, for people
}

// Answer asks once more about a call that was allowed, whose answer came with a label: by
// the same policies, as of when the call opened, so that nothing but the class is another.
// It is nil if no label came.
//
// A label can only raise the class. The call was decided, and its destination asked, by
// what the callee is registered as: a lower class would come too late to allow anything.
func (a *Authorizer) Answer(v *Verdict, head *l7.ResponseHead, opened time.Time) *Answer {
	if !head.Fields.Has(label.Field) {
		return nil
	}
	came := a.answerLabel(v, head)
	if came.good == nil {
		return &Answer{Reason: crossingv1.Reason_BAD_LABEL, Detail: "the answer's label: " + came.bad}
	}
	answer := &Answer{Label: came.good}
	for _, p := range v.policies() {
		class := dataclass.Answer(p, p.Workload(v.Workload.Name), came.good.Class)
		answer.Class = class.Name // the last is as the egress gateway has it
		if class.Source != crossingv1.Operation_LABEL {
			continue
		}
		if intent, denied := v.deniesAnswer(p, class.Name, opened); denied {
			answer.Reason = crossingv1.Reason_FORBIDDEN_ANSWER
			answer.Detail = "the answer is " + class.Name + ", by its label, and intent " + intent + " denies that"
		}
	}
	return answer
}

// answerLabel verifies what came as a label of the answer, and holds its labeler against
// each policy that the call was decided by.
func (a *Authorizer) answerLabel(v *Verdict, head *l7.ResponseHead) labelled {
	token, once := head.Fields.Only(label.Field)
	switch {
	case a.labels == nil:
		return labelled{bad: "this gateway can verify none"}
	case !once:
		return labelled{bad: "there are two"}
	case head.Status != http.StatusOK:
		return labelled{bad: "it came with another status than 200"}
	}
	about := label.Answer{Callee: v.Workload.ID, Caller: v.source, Line: v.asked.Line()}
	came := a.counts(label.VerifyAnswer(token, about, a.labels, time.Now()))
	for _, p := range v.policies() {
		if came.good == nil {
			break
		}
		if fault := unregistered(p, came.good); fault != "" {
			came = labelled{bad: fault}
		}
	}
	return came
}

// policies are those that it was decided by: the one in force, and that of the peer if it
// is another.
func (v *Verdict) policies() []*policy.Policy {
	if v.named == nil || v.named == v.by {
		return []*policy.Policy{v.by}
	}
	return []*policy.Policy{v.by, v.named}
}

// deniesAnswer says whether an intent denies the call with an answer of that class. A
// higher class adds denies and takes no allow away, so that nothing else is looked at. Of
// a request whose content was not read to its end when it was decided, only the head
// counts: what else it may ask for, a deny that depends on it takes for asked.
func (v *Verdict) deniesAnswer(p *policy.Policy, class string, at time.Time) (intent string, denied bool) {
	q := policy.Query{From: v.source, To: v.Workload, Service: v.Service.Name, Answer: class, Now: at}
	attributes(&q.Attributes, v.Service, v.asked)
	if v.Label != nil {
		q.Attributes.SetString(policy.DataClass, v.Label.Class)
	}
	head := q.Attributes
	for _, ask := range v.settled() {
		q.Attributes = head
		ask.Describe(&q.Attributes)
		if d := p.Decide(&q); d.Reason == crossingv1.Reason_DENIED_BY_INTENT {
			return d.Intent, true
		}
	}
	return "", false
}
