package policy

import (
	"maps"
	"slices"
	"strings"
	"time"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// exceptionDays is how far off the end of an exception may be at most.
const exceptionDays = 90

// exceptionCodes are what a layer may be unable to say, sorted.
func exceptionCodes() []string {
	return []string{
		"AI", "BUDGET", "CAP", "DEFAULT", "FQDN", "IDENT", "L7", "LOG", "NODENY", "ORDER",
		"PROTO", "SCOPE", "STALE", "STATE", "TIME", "UNREALISED",
	}
}

func parseDate(text string) (time.Time, error) { return time.Parse(time.DateOnly, text) }

func (v *validator) exceptions() {
	for i, e := range v.p.GetExceptions() {
		path := at("exceptions", i)
		subject := "exception " + e.GetAccept() + " of " + e.GetLayer() + " in " + e.GetEnvironment()
		v.reference(key(path, "accept"), subject, "code", e.GetAccept(), exceptionCodes())
		env := v.p.GetEnvironments()[e.GetEnvironment()]
		if env == nil {
			v.reference(key(path, "environment"), subject, "environment", e.GetEnvironment(), v.environmentNames)
		} else if !slices.ContainsFunc(env.GetLayers(), func(l *policyv1.Layer) bool { return l.GetLayer() == e.GetLayer() }) {
			v.fault(key(path, "layer"), "%s: the environment has no such layer", subject)
		}
		if strings.TrimSpace(e.GetReason()) == "" {
			v.fault(key(path, "reason"), "%s: no reason", subject)
		}
		v.team(key(path, "owner"), subject, "owner", e.GetOwner(), "Name the team that answers for it.")
		v.team(key(path, "approver"), subject, "approver", e.GetApprover(), "Name the team that approved it.")
		if e.GetOwner() != "" && e.GetOwner() == e.GetApprover() {
			v.fault(key(path, "approver"), "%s: %s cannot approve its own exception", subject, e.GetOwner())
		}
		if _, err := parseDate(e.GetExpires()); err != nil {
			v.fault(key(path, "expires"), "%s: expires %q is not a date YYYY-MM-DD", subject, e.GetExpires())
		}
	}
}

func (v *validator) tests() {
	for i, t := range v.p.GetTests() {
		path, subject := at("tests", i), testSubject(t)
		v.reference(key(path, "from"), subject, "workload", t.GetFrom(), v.workloadNames)
		v.reference(key(path, "to"), subject, "workload", t.GetTo(), v.workloadNames)
		if w := v.p.GetWorkloads()[t.GetTo()]; w != nil && t.GetService() != "" {
			v.reference(key(path, "service"), subject, "service", t.GetService(), slices.Sorted(maps.Keys(w.GetServes())))
		}
		if t.GetExpect() != "allow" && t.GetExpect() != "deny" {
			v.fault(key(path, "expect"), "%s: expect is allow or deny, not %q", subject, t.GetExpect())
		}
		if t.GetBy() != "" {
			v.reference(key(path, "by"), subject, "intent", t.GetBy(), v.intentNames())
		}
		for name, text := range t.GetWith() {
			v.with(key(key(path, "with"), name), subject, name, text)
		}
	}
}

func (v *validator) intentNames() []string {
	var names []string
	for _, in := range v.p.GetIntents() {
		names = append(names, in.GetName())
	}
	slices.Sort(names)
	return names
}

func (v *validator) with(path, subject, name, text string) {
	a, ok := AttributeByName(name)
	if !ok {
		v.fault(path, "%s: %s", subject, UnknownAttribute(name))
	} else if err := CheckLiteral(a, text, v.p.GetDataClasses()); err != nil {
		v.fault(path, "%s: %v", subject, err)
	}
}

// ValidateDates says which dates of a valid policy are past, or too far off, at
// the moment at which it is published. Once in force no date ends a transition.
func ValidateDates(p *policyv1.Policy, now time.Time) Faults {
	var f Faults
	today := now.UTC().Truncate(24 * time.Hour)
	for i, t := range p.GetTransitions() {
		if day, err := parseDate(t.GetReviewBy()); err == nil && day.Before(today) {
			f.add(key(at("transitions", i), "reviewBy"), "transition %s ─► %s: reviewBy %s is past. %s reviews it and sets the next day.",
				t.GetFrom(), t.GetTo(), t.GetReviewBy(), t.GetOwner())
		}
	}
	for i, e := range p.GetExceptions() {
		path := key(at("exceptions", i), "expires")
		day, err := parseDate(e.GetExpires())
		if err != nil {
			continue
		}
		subject := "exception " + e.GetAccept() + " of " + e.GetLayer() + " in " + e.GetEnvironment()
		if day.Before(today) {
			f.add(path, "%s: expired on %s. Repair the layer and delete it, or have it approved again.", subject, e.GetExpires())
		} else if last := today.AddDate(0, 0, exceptionDays); day.After(last) {
			f.add(path, "%s: expires %s, later than in %d days; at most %s", subject, e.GetExpires(), exceptionDays, last.Format(time.DateOnly))
		}
	}
	for i, in := range p.GetIntents() {
		if end, err := time.Parse(time.RFC3339, in.GetValid().GetNotAfter()); err == nil && !end.After(now) {
			f.add(key(at("intents", i), "valid.notAfter"), "intent %s: ended on %s. Delete it, or extend it.", in.GetName(), in.GetValid().GetNotAfter())
		}
	}
	return f.sorted()
}
