package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

// Explanation is a decision with all that led to it, for people who may see the
// policy.
type Explanation struct {
	Query    Query
	Decision Decision
	// Summary is the decision in a phrase.
	Summary string
	// Considered are all intents in the order of their names.
	Considered []Considered
}

// Considered is one intent and what became of it.
type Considered struct {
	Intent  string
	Deny    bool
	Matched bool
	// Why it matched or did not: the first thing that did not fit, or what was
	// not known.
	Why string
}

// Explain says how a call is decided and why. from is a workload's name or a
// SPIFFE ID, to a workload's name or host name, service one that it serves or ""
// if it serves at most one, attrs attributes by dotted name. It fails if the
// question cannot be asked; a denial is an answer.
func Explain(p *Policy, from, to, service string, attrs map[string]string, now time.Time) (Explanation, error) {
	q, err := p.question(from, to, service, attrs, now)
	if err != nil {
		return Explanation{}, err
	}
	d := p.Decide(&q)
	e := Explanation{Query: q, Decision: d, Summary: p.Describe(d)}
	var k call
	s, callee, placed := p.place(&q, &k)
	if placed.Reason != crossingv1.Reason_REASON_UNSPECIFIED {
		return e, nil
	}
	for i := range p.intents {
		e.Considered = append(e.Considered, p.consider(i, p.fitting(s, callee, q.Service, &k), &k))
	}
	slices.SortFunc(e.Considered, func(a, b Considered) int { return strings.Compare(a.Intent, b.Intent) })
	return e, nil
}

func (p *Policy) question(from, to, service string, attrs map[string]string, now time.Time) (Query, error) {
	q := Query{Service: service, Now: now, To: p.byName[to]}
	var err error
	if q.From, err = p.caller(from); err != nil {
		return q, fmt.Errorf("from: %w", err)
	}
	if q.To == nil {
		q.To = p.byHost[to]
	}
	if q.To == nil {
		return q, fmt.Errorf("to: unknown workload %q%s", to, nearest.Hint(to, p.workloadNames()))
	}
	services := asked(service, q.To)
	if len(services) > 1 {
		return q, fmt.Errorf("to: %s serves %s: say which", to, strings.Join(services, ", "))
	}
	if q.Service = services[0]; q.Service != "" && q.To.Service(q.Service) == nil {
		return q, fmt.Errorf("to: %s serves no %s%s", to, q.Service, nearest.Hint(q.Service, asked("", q.To)))
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if a, ok := AttributeByName(name); ok {
			if err := CheckLiteral(a, attrs[name], p.classes); err != nil {
				return q, err
			}
		}
		if err := q.Attributes.Set(name, attrs[name]); err != nil {
			return q, err
		}
	}
	return q, nil
}

func (p *Policy) consider(i int, f fitting, k *call) Considered {
	in := &p.intents[i]
	c := Considered{Intent: in.name, Deny: in.deny}
	switch {
	case !f.caller.has(i):
		c.Why = "it is about other callers"
	case !f.callee.has(i):
		c.Why = "it is about other callees"
	case !f.service.has(i):
		c.Why = "it is about service " + in.service
	case !f.asked.has(i) && !f.answered.has(i):
		c.Why = "no data of its class leaves the environment"
	default:
		c.Matched, c.Why = in.explain(k)
	}
	return c
}

// explain says whether the intent counts as matching, and why.
func (in *intent) explain(k *call) (bool, string) {
	method, path, when := in.method(k), in.path(k), yes
	if in.when != nil {
		when = in.when.truth(k)
	}
	switch {
	case k.now < in.notBefore:
		return false, "it is not yet valid"
	case k.now >= in.notAfter:
		return false, "it is no longer valid"
	case !in.about(k):
		return false, "it is about other callers"
	case method == no:
		return false, "it is about other methods"
	case path == no:
		return false, "it is about other paths"
	case when == no:
		return false, "its condition does not hold: " + in.text
	case both(both(method, path), when) == yes:
		return true, "all of it fits"
	}
	missing := "its condition needs an attribute that is not known: " + in.text
	if method == maybe {
		missing = "the method is not known"
	} else if path == maybe {
		missing = "the path is not known"
	}
	if in.deny {
		return true, missing + "; a deny then matches"
	}
	return false, missing + "; an allow then does not match"
}
