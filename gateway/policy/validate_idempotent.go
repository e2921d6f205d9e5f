package policy

import (
	"maps"
	"slices"
	"strings"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// idempotent stands only with an allow of what is no tool call: whatever else
// narrows the intent, none of the services that it is about may carry any.
func (v *validator) idempotent(path, subject string, in *policyv1.Intent) {
	switch m := in.GetAllow(); {
	case !in.GetIdempotent():
	case m == nil:
		v.fault(path, "%s: idempotent stands only with an allow", subject)
	default:
		if w, s := v.toolsOf(m); w != "" {
			v.fault(path, "%s: calls of tools are never repeated, and %s of %s carries them. Name another service, or leave idempotent out.",
				subject, s, w)
		}
	}
}

// toolsOf is the first workload that a match is about, and a service of it, whose
// protocol carries tool calls; "" if there is none.
func (v *validator) toolsOf(m *policyv1.Match) (workload, service string) {
	to, err := parseSelector(m.GetTo())
	if err != nil {
		return "", "" // a fault of its own
	}
	for _, name := range v.workloadNames {
		w := v.p.GetWorkloads()[name]
		if !v.selects(&to, name, w) {
			continue
		}
		for _, s := range slices.Sorted(maps.Keys(w.GetServes())) {
			protocol, _, _ := strings.Cut(w.GetServes()[s], "://")
			if callsTools(protocol) && (m.GetService() == "" || m.GetService() == s) {
				return name, s
			}
		}
	}
	return "", ""
}

// selects says whether a selector may be about a workload.
func (v *validator) selects(s *selector, name string, w *policyv1.Workload) bool {
	id, err := parsePattern(w.GetId())
	if err != nil {
		return true // a fault of its own
	}
	switch s.how {
	case byName:
		return s.name == name
	case byEnvironment:
		return v.domains[id.td] == s.name
	case byLabel:
		value, labelled := w.GetLabels()[s.name]
		return labelled && value == s.labelValue
	case byPattern:
		return s.pattern.overlaps(&id)
	default:
		return true
	}
}
