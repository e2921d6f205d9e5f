package policy

import (
	"maps"
	"slices"
	"strings"
	"time"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func (v *validator) intents() {
	seen := map[string]string{}
	served := v.served()
	for i, in := range v.p.GetIntents() {
		path, subject := at("intents", i), "intent "+in.GetName()
		v.name(key(path, "name"), "intent", in.GetName())
		if first, twice := seen[in.GetName()]; twice {
			v.repeats(key(path, "name"), first, "%s: the name is taken by another intent", subject)
		} else {
			seen[in.GetName()] = key(path, "name")
		}
		v.intent(path, subject, in, served)
	}
}

// served are the names of all services, sorted.
func (v *validator) served() []string {
	names := map[string]bool{}
	for _, w := range v.p.GetWorkloads() {
		for s := range w.GetServes() {
			names[s] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (v *validator) intent(path, subject string, in *policyv1.Intent, served []string) {
	switch {
	case (in.GetAllow() == nil) == (in.GetDeny() == nil):
		v.fault(path, "%s: exactly one of allow and deny", subject)
	case in.GetAllow() != nil:
		v.match(key(path, "allow"), subject, in.GetAllow(), served)
		v.allowOnly(key(path, "allow"), subject, in.GetAllow())
	default:
		v.match(key(path, "deny"), subject, in.GetDeny(), served)
		v.denyOnly(path, subject, in)
	}
	v.idempotent(key(path, "idempotent"), subject, in)
	v.condition(path, subject, in)
	v.limits(key(path, "limits"), subject, in.GetLimits())
	v.require(key(path, "require"), subject, in.GetRequire())
	v.validity(key(path, "valid"), subject, in.GetValid())
	if in.GetOwner() != "" {
		v.team(key(path, "owner"), subject, "owner", in.GetOwner(), "")
	}
}

func (v *validator) match(path, subject string, m *policyv1.Match, served []string) {
	v.selector(key(path, "from"), subject, m.GetFrom())
	v.selector(key(path, "to"), subject, m.GetTo())
	if m.GetService() != "" {
		known := served
		if w := v.p.GetWorkloads()[m.GetTo()]; w != nil {
			known = slices.Sorted(maps.Keys(w.GetServes()))
		}
		v.reference(key(path, "service"), subject, "service", m.GetService(), known)
	}
	for i, method := range m.GetMethods() {
		if method == "CONNECT" {
			v.fault(at(key(path, "methods"), i), "%s: CONNECT opens a byte stream, which has no method and no path, so this never matches. "+
				"Allow a service tcp://:PORT without methods and paths.", subject)
		} else if method == "" || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
			v.fault(at(key(path, "methods"), i), "%s: %q is not an HTTP method in capitals", subject, method)
		}
	}
	for i, p := range m.GetPaths() {
		stem, below := strings.CutSuffix(p, "/*")
		if below && stem == "" {
			continue // "/*" is every path
		}
		if strings.Contains(stem, "*") {
			v.fault(at(key(path, "paths"), i), `%s: path %q: a "*" stands only at the end, as "/*", for all below`, subject, p)
		} else if err := checkPath(stem); err != nil {
			v.fault(at(key(path, "paths"), i), "%s: %v", subject, err)
		}
	}
}

func (v *validator) allowOnly(path, subject string, m *policyv1.Match) {
	if m.GetData() != "" {
		v.fault(key(path, "data"), "%s: data stands only in a deny. Say it in when: data.class <= %q.", subject, m.GetData())
	}
	if m.GetLeaving() != "" {
		v.fault(key(path, "leaving"), "%s: leaving stands only in a deny", subject)
	}
}

func (v *validator) denyOnly(path, subject string, in *policyv1.Intent) {
	m := in.GetDeny()
	if m.GetData() != "" {
		v.class(key(path, "deny.data"), subject, m.GetData())
	}
	if m.GetLeaving() != "" {
		env, ok := strings.CutPrefix(m.GetLeaving(), "environment:")
		if !ok {
			v.fault(key(path, "deny.leaving"), "%s: leaving is environment:NAME, not %q", subject, m.GetLeaving())
		} else {
			v.reference(key(path, "deny.leaving"), subject, "environment", env, v.environmentNames)
		}
	}
	if len(in.GetLimits()) > 0 {
		v.fault(key(path, "limits"), "%s: limits stand only with an allow", subject)
	}
	if in.GetRequire() != nil {
		v.fault(key(path, "require"), "%s: require stands only with an allow", subject)
	}
}

func (v *validator) require(path, subject string, r *policyv1.Require) {
	if r == nil {
		return
	}
	if r.GetTools() != nil {
		v.requireTools(key(path, "tools.in"), subject, r.GetTools().GetIn())
	}
	if r.GetGuard() != "" {
		v.requireGuard(key(path, "guard"), subject, r.GetGuard())
	}
	if r.GetDigest() == nil {
		if !r.GetWorkloadProof() && r.GetTools() == nil && r.GetGuard() == "" {
			v.fault(key(path, "workloadProof"), "%s: require says nothing; it takes workloadProof, digest, tools and guard", subject)
		}
		return
	}
	name := r.GetDigest().GetIn()
	v.reference(key(path, "digest.in"), subject, "list", name, slices.Sorted(maps.Keys(v.p.GetLists())))
	if l := v.p.GetLists()[name]; l != nil && len(l.GetDigests()) == 0 {
		v.fault(key(path, "digest.in"), "%s: list %s has no digests", subject, name)
	}
}

func (v *validator) validity(path, subject string, valid *policyv1.Validity) {
	if valid == nil {
		return
	}
	var ends [2]time.Time
	for i, end := range [...]struct{ field, text string }{{"notBefore", valid.GetNotBefore()}, {"notAfter", valid.GetNotAfter()}} {
		if end.text == "" {
			continue
		}
		var err error
		if ends[i], err = time.Parse(time.RFC3339, end.text); err != nil {
			v.fault(key(path, end.field), "%s: %s %q is not a time such as 2027-01-31T00:00:00Z", subject, end.field, end.text)
			return
		}
	}
	switch {
	case valid.GetNotBefore() == "" && valid.GetNotAfter() == "":
		v.fault(path, "%s: valid says nothing; it takes notBefore and notAfter", subject)
	case valid.GetNotBefore() != "" && valid.GetNotAfter() != "" && !ends[0].Before(ends[1]):
		v.fault(key(path, "notAfter"), "%s: notAfter is not later than notBefore", subject)
	}
}
