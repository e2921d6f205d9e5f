// Package authz asks the policy whether a crossing may happen. It is where a
// gateway fails closed: whatever is missing, unknown or contradictory is a
// denial with a reason, never an error, and an ingress gateway never takes the
// egress gateway's word for a decision.
package authz

import (
	"net/http"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Verdict is a decision with all that the record says of it.
type Verdict struct {
	Allow      bool
	Pending    bool               // it depends on what the request's content tells; then it is not allowed yet
	Reason     crossingv1.Reason  // why not; REASON_UNSPECIFIED if allowed
	Detail     string             // what was not well formed or cannot be kept, for people
	Intent     string             // the intent that decided, if one did
	Policy     policy.Ref         // what it was decided under
	Named      policy.Ref         // ingress: what the egress gateway named
	From, To   string             // the environments; "" if unknown
	Transition *policy.Transition // nil if there is none
	Workload   *policy.Workload   // the destination; nil if unknown
	Service    *policy.Service    // what of it is called; nil if unknown
	Source     spiffeid.ID        // who calls, by what the peer gateway says; ingress only
	Caller     *policy.Workload   // who calls; nil if it is no workload of the policy, or was not asked about
	Limited    bool               // it is allowed only within budgets
	Idempotent bool               // it may be asked for again where nobody knows whether it was heard
	Guards     []*policy.Guard    // that must let the content pass, of either side; each once, by the order of their names
	Proof      string             // fingerprint of the caller's own proof that it calls, if a good one came

	reading
	DataClass       string // of what is sent; "" if the policy knows no classes, or was not asked
	DataClassSource crossingv1.Operation_DataClassSource
	Label           *label.Label // what says so, if the source is LABEL: the content must match it
	Whole           bool         // of the content nothing may go on before it is known to match

	unproven string // what is wrong with one that came
	labelled labelled
	host     string // the owner of the environment that answers where no transition does
}

// Owner is the team that answers for the crossing: for its transition or, where
// there is none, for an environment. "" if there is no policy to say so.
func (v *Verdict) Owner() string {
	if v.Transition == nil {
		return v.host
	}
	return v.Transition.Owner
}

// Unable denies what the policy allows because this gateway cannot carry it
// under that policy.
func (v *Verdict) Unable(detail string) { v.fault(crossingv1.Reason_NOT_ENFORCEABLE, detail) }

// Durable says whether the crossing's opening must be on stable storage before
// anything is forwarded. Where nobody could say otherwise, it must.
func (v *Verdict) Durable() bool { return v.Transition == nil || v.Transition.Durable }

// GoesOn says whether the crossing may go on while this gateway cannot write its
// record. Where nobody could say so, it may not.
func (v *Verdict) GoesOn() bool { return v.Transition != nil && v.Transition.GoesOn }

func (v *Verdict) deny(reason crossingv1.Reason) *Verdict {
	v.Allow, v.Pending, v.Idempotent, v.Reason = false, false, false, reason
	return v
}

func (v *Verdict) fault(reason crossingv1.Reason, detail string) *Verdict {
	v.Detail = detail
	return v.deny(reason)
}

// under says which policy counts and who answers by it where no transition
// does. A policy that does not know the environment is none: nobody would answer.
func (v *Verdict) under(held *xdsclient.Policies, environment string) *policy.Policy {
	if held == nil || held.Current == nil || held.Current.OwnerOf(environment) == "" {
		return nil
	}
	v.Policy, v.host = held.Current.Ref(), held.Current.OwnerOf(environment)
	return held.Current
}

// policies is where the policy comes from, and operators' acts; nil means that
// there is none.
type policies interface {
	Policies() *xdsclient.Policies
	Acts() *act.Set
}

// Authorizer decides for one gateway.
type Authorizer struct {
	self        spiffeid.ID
	environment string
	policies    policies
	proofs      proofs                                 // nil takes none
	reads       func(protocol string) inspect.Protocol // nil reads none
	labels      label.Chains                           // nil takes none
}

// New makes the authorizer of a gateway of that environment.
func New(self spiffeid.ID, environment string, p policies) *Authorizer {
	return &Authorizer{self: self, environment: environment, policies: p}
}

// Egress decides on a request of a workload of this gateway's environment.
func (a *Authorizer) Egress(caller spiffeid.ID, head *l7.RequestHead, now time.Time) Verdict {
	v := Verdict{From: a.environment}
	p := v.under(a.policies.Policies(), a.environment)
	if p == nil {
		return *v.deny(crossingv1.Reason_NO_POLICY)
	}
	var reason crossingv1.Reason
	v.Workload, v.Service, reason = p.Resolve(head.Authority)
	if v.Workload != nil {
		v.To = v.Workload.Environment
		v.Transition = p.TransitionOf(v.From, v.To)
	}
	if reason != crossingv1.Reason_REASON_UNSPECIFIED {
		return *v.deny(reason)
	}
	if env, ok := p.EnvironmentOf(caller.TrustDomain()); !ok || env != a.environment {
		return *v.deny(crossingv1.Reason_FOREIGN_IDENTITY)
	}
	if acts := a.policies.Acts(); acts != nil && v.stopped(acts, a.self, caller) {
		return v
	}
	a.show(&v, caller, head.Proof, now)
	a.label(&v, caller, head.Label, head, now)
	v.by, v.source, v.asked = p, caller, head
	v.read(a, head)
	v.judge(now)
	return v
}

// EgressUnread is the denial of a request of which only the caller is known. A
// reason that the policy alone can give is taken for MALFORMED: nobody asked it.
func (a *Authorizer) EgressUnread(reason crossingv1.Reason, detail string) Verdict {
	v := Verdict{From: a.environment}
	v.under(a.policies.Policies(), a.environment)
	if crossing.Judged(reason) {
		reason = crossingv1.Reason_MALFORMED
	}
	return *v.fault(reason, detail)
}

// Ingress decides again on a crossing that a peer gateway let out: under the
// policy that the peer names and under this gateway's own.
func (a *Authorizer) Ingress(peer spiffeid.ID, h *crossingv1.Header, head *l7.RequestHead, now time.Time) Verdict {
	held := a.policies.Policies()
	v, p := a.arrival(held, peer, h)
	if p == nil {
		return v
	}
	source, err := spiffeid.FromString(h.GetSource())
	if err != nil || source.TrustDomain() != peer.TrustDomain() {
		return *v.deny(crossingv1.Reason_FOREIGN_IDENTITY)
	}
	v.Source = source
	named := held.BySerial(v.Named.Serial, now)
	if named == nil || named.Ref() != v.Named {
		return *v.deny(crossingv1.Reason_POLICY_MISMATCH)
	}
	if !v.destination(p, h, head) {
		return v
	}
	if acts := a.policies.Acts(); acts != nil && (v.stopped(acts, a.self, source) || v.stopped(acts, peer, source)) {
		return v
	}
	a.show(&v, source, h.GetProof(), now)
	a.label(&v, source, h.GetLabel(), head, now)
	v.by, v.named, v.source, v.asked, v.header = p, named, source, head, h
	v.read(a, head)
	v.judge(now)
	return v
}

// IngressUnread is the denial of a crossing of which only the header is known.
// If the peer itself is refused, that is the reason.
func (a *Authorizer) IngressUnread(peer spiffeid.ID, h *crossingv1.Header, detail string) Verdict {
	v, p := a.arrival(a.policies.Policies(), peer, h)
	if p == nil {
		return v
	}
	return *v.fault(crossingv1.Reason_MALFORMED, detail)
}

// arrival is what the peer alone tells: where from, and who answers for it. It
// gives the policy in force, or nil after a denial.
func (a *Authorizer) arrival(held *xdsclient.Policies, peer spiffeid.ID, h *crossingv1.Header) (Verdict, *policy.Policy) {
	v := Verdict{
		To:    a.environment,
		Named: policy.Ref{Serial: h.GetPolicy().GetSerial(), Revision: h.GetPolicy().GetRevision()},
	}
	p := v.under(held, a.environment)
	if p == nil {
		return *v.deny(crossingv1.Reason_NO_POLICY), nil
	}
	gw := p.GatewayByID(peer)
	if gw == nil || gw.Environment == a.environment {
		return *v.deny(crossingv1.Reason_UNKNOWN_PEER), nil
	}
	v.From, v.host = gw.Environment, p.OwnerOf(gw.Environment)
	v.Transition = p.TransitionOf(v.From, v.To)
	return v, p
}

// destination finds what the peer asks for and holds it against the head that
// will be forwarded: the two must name the same service of the same workload.
// It is false after a denial.
func (v *Verdict) destination(p *policy.Policy, h *crossingv1.Header, head *l7.RequestHead) bool {
	w, s, reason := p.Resolve(head.Authority)
	switch {
	case reason != crossingv1.Reason_REASON_UNSPECIFIED:
		v.deny(reason)
		return false
	case w.Environment != v.To:
		v.deny(crossingv1.Reason_UNKNOWN_DESTINATION)
		return false
	}
	v.Workload, v.Service = w, s
	if w.Name != h.GetWorkload() || w.ID.String() != h.GetDestination() || s.Name != h.GetService() {
		v.fault(crossingv1.Reason_MALFORMED, "the crossing's header and the request's head name two destinations")
		return false
	}
	return true
}

// judge decides by the policy in force, and by the one that the egress gateway
// named if that is another.
func (v *Verdict) judge(now time.Time) {
	if v.decide(v.by, now); v.named != nil && v.named != v.by && (v.Allow || v.Pending) {
		v.agree(now)
	}
}

// agree denies unless the policy that the egress gateway named allows it too. The other
// verdict begins with the digests that this one has, and adds its own.
func (v *Verdict) agree(now time.Time) {
	other := Verdict{To: v.To, Proof: v.Proof, unproven: v.unproven, labelled: v.labelled, reading: v.reading}
	if other.destination(v.named, v.header, v.asked) {
		if other.decide(v.named, now); other.Allow || other.Pending {
			v.Allow, v.Pending = v.Allow && other.Allow, v.Pending || other.Pending
			v.Idempotent, v.Whole = v.Idempotent && other.Idempotent, v.Whole || other.Whole
			v.digests = other.digests
			v.Guards = guards(v.Guards, other.Guards...)
			v.DataClass, v.DataClassSource = other.DataClass, other.DataClassSource // as the egress gateway has it
			return
		}
		v.Intent = other.Intent
	}
	v.fault(other.Reason, other.Detail)
}

// decide asks one policy of all that is asked for: all of it must be allowed.
func (v *Verdict) decide(p *policy.Policy, now time.Time) *Verdict {
	q := policy.Query{From: v.source, To: v.Workload, Service: v.Service.Name, Now: now}
	if fault := v.classify(p, &q); fault != "" {
		return v.fault(crossingv1.Reason_BAD_LABEL, fault)
	}
	if fault := attributes(&q.Attributes, v.Service, v.asked); fault != "" {
		return v.fault(crossingv1.Reason_MALFORMED, fault)
	}
	v.unread = v.request != nil && !v.request.Settled()
	q.Unread = v.unread
	asks := v.Asks()
	if len(asks) > 1 {
		return v.decideEach(p, &q, asks)
	}
	if len(asks) == 1 {
		asks[0].Describe(&q.Attributes)
	}
	return v.ask(p, &q)
}

// decideEach decides on each of several: the first that is not allowed decides.
func (v *Verdict) decideEach(p *policy.Policy, q *policy.Query, asks []inspect.Ask) *Verdict {
	head := q.Attributes
	decided := *v
	limited, digests := false, v.digests
	var needed []*policy.Guard
	v.Limited, v.messages = false, make([]Message, len(asks))
	for i := range asks {
		q.Attributes = head
		asks[i].Describe(&q.Attributes)
		one := *v
		one.digests = digests
		one.ask(p, q)
		digests = one.digests
		v.messages[i] = Message{one.Intent, one.Allow}
		limited, needed = limited || one.Limited, guards(needed, one.Guards...)
		if i == 0 || decided.Allow {
			again, whole := i == 0 || decided.Idempotent, decided.Whole
			decided = one
			decided.Idempotent, decided.Whole = decided.Idempotent && again, decided.Whole || whole
		}
	}
	decided.messages, decided.Limited, decided.digests, decided.Guards = v.messages, limited, digests, needed
	*v = decided
	return v
}

// ask asks a policy, and takes up what it decided.
func (v *Verdict) ask(p *policy.Policy, q *policy.Query) *Verdict {
	d := p.Decide(q)
	v.Intent, v.Caller = d.Intent, d.Caller
	switch {
	case d.Pending:
		v.Pending = true
		return v
	case !d.Allow:
		return v.deny(d.Reason)
	case d.Digest && v.asked.Method == http.MethodConnect:
		return v.fault(crossingv1.Reason_NOT_ENFORCEABLE, "intent "+d.Intent+" requires a digest, and nobody sees the content of a byte stream")
	case d.Proof && v.Proof == "":
		return v.unprove()
	case d.Guard != nil && v.asked.Method == http.MethodConnect:
		return v.fault(crossingv1.Reason_NOT_ENFORCEABLE, "intent "+d.Intent+" requires guard "+d.Guard.Name+", and nobody sees the content of a byte stream")
	}
	if d.Guard != nil {
		v.Guards = guards(v.Guards, d.Guard)
	}
	if d.Digest {
		v.digests = append(slices.Clip(v.digests), p.Digests(d.Intent))
	}
	v.Limited = v.Limited || d.Limited
	v.Allow, v.Idempotent, v.Whole = true, d.Idempotent, v.whole(p, *q, d)
	return v
}
