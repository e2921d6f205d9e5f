package policy

import (
	"math/bits"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Query is a call that someone wants to make.
type Query struct {
	From       spiffeid.ID // the caller
	To         *Workload   // the callee
	Service    string      // the name of what is called; "" only if the callee serves nothing
	Attributes Attributes  // what is known of the call
	// Unread says that the call has content that was not read to its end: what only
	// content tells, and is not known, may yet come.
	Unread bool
	// Answer is a data class of the answer, if it is known to be of a higher one than the
	// callee's. A lower one counts for nothing: what the callee may be asked was decided by
	// what it is registered as.
	Answer string
	Now    time.Time
}

// Decision is the answer to a Query.
type Decision struct {
	Allow bool
	// Pending says that it depends on what only the content tells, which is unread. Then
	// nothing else is decided but the transition and the caller.
	Pending bool
	// Reason why not; REASON_UNSPECIFIED if allowed, or pending.
	Reason crossingv1.Reason
	// Intent that decided: of those that match a deny before any allow, the allow that
	// obliges to least before others, and of equals that of the smallest name. "" if
	// none matched.
	Intent string
	// Transition of the call; nil if it is shut or the environments are unknown.
	Transition *Transition
	// Caller is the workload that the caller is; nil if it counts as its environment.
	Caller *Workload
	// Limited says that it is allowed only within budgets, which a gateway must keep.
	Limited bool
	// Digest says that only content may move whose digest is one of the intent's Digests.
	// A gateway that cannot see the content must deny.
	Digest bool
	// Proof says that it is allowed only if the caller proves for itself that it
	// calls. A gateway that was shown no proof must deny.
	Proof bool
	// Guard must have seen the content and let it pass; nil for none. The gateway on its
	// side that cannot ask it must deny.
	Guard *Guard
	// Idempotent says that the intent lets a gateway ask again where it cannot know
	// whether it was heard. It is never so of tool calls, nor because of another
	// intent than the one that decided.
	Idempotent bool
}

// call is a Query with what the policy knows of its parties.
type call struct {
	from           spiffeid.ID
	exact          bool
	fromEnv, toEnv int
	class          int // of the request
	answer         int // of the answer
	now            int64
	Attributes     // the data class as its place, the protocol as the service's
}

// Decide says whether a call may cross. It is pure, does not allocate, and gives
// the same answer whatever the order of anything in the policy.
func (p *Policy) Decide(q *Query) Decision {
	var k call
	s, to, d := p.place(q, &k)
	if d.Reason != crossingv1.Reason_REASON_UNSPECIFIED {
		return d
	}
	d.Caller = s.workload
	f := p.fitting(s, to, q.Service, &k)
	for i := range s.intents {
		for word := f.word(i); word != 0; word &= word - 1 {
			in := &p.intents[i*64+bits.TrailingZeros64(word)]
			switch t := in.truth(&k); {
			case t == maybe && q.Unread && in.when != nil && in.when.unread(&k):
				d.Pending = true
				return d
			case in.deny && t != no:
				d.Reason, d.Intent = crossingv1.Reason_DENIED_BY_INTENT, in.name
				return d
			case !in.deny && t == yes:
				d.Allow, d.Intent, d.Limited, d.Digest, d.Proof = true, in.name, in.limited, in.digest, in.proof
				d.Guard = in.guard
				d.Idempotent = in.again && !callsTools(k.values[Protocol].text)
				return d
			}
		}
	}
	d.Reason = crossingv1.Reason_NO_INTENT
	return d
}

// fitting are the sets that a call's intents are in.
type fitting struct{ caller, callee, service, asked, answered bitset }

func (p *Policy) fitting(s *subject, to *Workload, service string, k *call) fitting {
	return fitting{
		s.intents, p.callees[to.index], p.serviceSet(service),
		p.dataSet(k.fromEnv, k.class), p.dataSet(k.toEnv, k.answer),
	}
}

// word is a part of their intersection: 64 intents.
func (f *fitting) word(i int) uint64 {
	return f.caller[i] & f.callee[i] & f.service[i] & (f.asked[i] | f.answered[i])
}

func (p *Policy) serviceSet(name string) bitset {
	if set, ok := p.services[name]; ok {
		return set
	}
	return p.any
}

// place finds the parties of a call and the transition between them. The
// decision it returns is final if it has a reason.
func (p *Policy) place(q *Query, k *call) (*subject, *Workload, Decision) {
	i, exact, reason := p.subjectOf(q.From)
	if reason != crossingv1.Reason_REASON_UNSPECIFIED {
		return nil, nil, Decision{Reason: reason}
	}
	s, to := &p.subjects[i], p.own(q.To)
	if to == nil {
		return nil, nil, Decision{Reason: crossingv1.Reason_UNKNOWN_DESTINATION}
	}
	callee := &p.subjects[to.index]
	d := Decision{Transition: p.transitions[s.environment*len(p.environments)+callee.environment]}
	if d.Transition == nil {
		d.Reason = crossingv1.Reason_NO_TRANSITION
		return nil, nil, d
	}
	service := to.Service(q.Service)
	if service == nil && (q.Service != "" || len(to.Services) > 0) {
		d.Reason = crossingv1.Reason_UNKNOWN_SERVICE
		return nil, nil, d
	}
	*k = call{
		from: q.From, exact: exact, fromEnv: s.environment, toEnv: callee.environment,
		class: s.class, answer: p.answers(callee, q), Attributes: q.Attributes, now: q.Now.UnixMicro(),
	}
	if service != nil && !k.values[Protocol].known {
		k.values[Protocol] = value{text: service.Protocol, known: true}
	}
	if v := &k.values[DataClass]; v.known {
		k.class = p.class(v.text)
	}
	k.values[DataClass] = value{number: int64(k.class), known: true}
	return s, to, d
}

// answers is the class of what a callee answers.
func (p *Policy) answers(callee *subject, q *Query) int {
	if q.Answer == "" {
		return callee.class
	}
	return max(callee.class, p.class(q.Answer))
}

// own is the policy's own workload of a query, which may have been resolved
// under another policy.
func (p *Policy) own(w *Workload) *Workload {
	if w == nil {
		return nil
	}
	if w.index < len(p.workloads) && p.workloads[w.index] == w {
		return w
	}
	return p.byName[w.Name]
}

// subjectOf is what a caller counts as: its workload, else the workload whose
// pattern it has the form of, else its environment. An ID that is no workload's
// has a reason instead: of an unknown trust domain, without a path, or a
// gateway's.
func (p *Policy) subjectOf(id spiffeid.ID) (index int, exact bool, reason crossingv1.Reason) {
	if i, ok := p.byID[id]; ok {
		return int(i), true, crossingv1.Reason_REASON_UNSPECIFIED
	}
	td, path := id.TrustDomain(), strings.TrimPrefix(id.Path(), "/")
	env, ok := p.domains[td]
	if first, _, _ := strings.Cut(path, "/"); !ok || first == "" || first == reserved {
		return 0, false, crossingv1.Reason_BAD_IDENTITY
	}
	if t := p.forms[td]; t != nil {
		if i := t.find(path); i >= 0 {
			return i, false, crossingv1.Reason_REASON_UNSPECIFIED
		}
	}
	return len(p.workloads) + env, false, crossingv1.Reason_REASON_UNSPECIFIED
}
