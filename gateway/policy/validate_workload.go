package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"

	"github.com/sallyport-mesh/sallyport/gateway/policy/address"
	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

func (v *validator) workloads() {
	ids := map[spiffeid.ID]string{}
	var named []string // the workloads in forms
	forms := map[spiffeid.TrustDomain]*trie{}
	for _, name := range v.workloadNames {
		w, path, subject := v.p.GetWorkloads()[name], key("workloads", name), "workload "+name
		v.name(path, "workload", name)
		v.team(key(path, "owner"), subject, "owner", w.GetOwner(), "Name the team that answers for it.")
		form, ok := v.identity(key(path, "id"), subject, w.GetId())
		v.workloadDetails(path, v.domains[form.td], subject, w)
		switch {
		case !ok:
		case form.exact():
			if other, taken := ids[form.id]; taken {
				v.fault(key(path, "id"), "%s: %s is the id of %s", subject, w.GetId(), other)
			}
			ids[form.id] = name
		default:
			v.form(path, name, w, &form, forms, &named)
		}
	}
	if len(named) > maxPatterns {
		v.fault("workloads", "%d workloads have a pattern for an id: at most %d", len(named), maxPatterns)
	}
}

// identity demands a SPIFFE ID, or a pattern of them, in one of the policy's
// trust domains.
func (v *validator) identity(path, subject, text string) (pattern, bool) {
	form, err := parsePattern(text)
	if err != nil {
		v.fault(path, "%s: %v", subject, err)
		return form, false
	}
	if _, known := v.domains[form.td]; !known {
		v.fault(path, "%s: trust domain %s is of no environment%s", subject, form.td.Name(), nearest.Hint(form.td.Name(), v.domainNames()))
		return form, false
	}
	return form, true
}

func (v *validator) domainNames() []string {
	var names []string
	for td := range v.domains {
		names = append(names, td.Name())
	}
	slices.Sort(names)
	return names
}

// form refuses two patterns with a common ID: which of the two workloads it is
// would be chance.
func (v *validator) form(path, name string, w *policyv1.Workload, form *pattern, forms map[spiffeid.TrustDomain]*trie, named *[]string) {
	if len(w.GetServes()) > 0 {
		v.fault(key(path, "serves"), "workload %s: its id is a pattern, and a caller could not know whom it reaches. Give what serves its own id.", name)
	}
	*named = append(*named, name)
	if len(*named) > maxPatterns {
		return
	}
	if forms[form.td] == nil {
		forms[form.td] = newTrie()
	}
	if i := forms[form.td].overlapping(form.segments); i >= 0 {
		v.fault(key(path, "id"), "workload %s: some IDs of the form %s are also of that of %s", name, w.GetId(), (*named)[i])
		return
	}
	forms[form.td].add(form.segments, len(*named)-1)
}

// workloadDetails judges what a workload of an environment says of itself.
func (v *validator) workloadDetails(path, env, subject string, w *policyv1.Workload) {
	if w.GetData() != nil {
		v.class(key(path, "data.class"), subject, w.GetData().GetClass())
	}
	v.addresses(key(path, "addresses"), env, subject, w.GetAddresses())
	if w.GetPlaintext() != nil {
		v.team(key(path, "plaintext.acceptedBy"), subject, "acceptedBy", w.GetPlaintext().GetAcceptedBy(),
			"Name the team that accepts that it is reached without TLS.")
	}
	for k := range w.GetLabels() {
		if k == "" || len(k) > 253 {
			v.fault(key(path, "labels"), "%s: a label's key has 1 to 253 characters", subject)
		}
	}
	v.holds(key(path, "hold"), subject, w)
	ports := map[uint16]string{}
	for _, name := range slices.Sorted(maps.Keys(w.GetServes())) {
		at := key(key(path, "serves"), name)
		v.name(at, "service", name)
		s, err := parseService(name, w.GetServes()[name])
		if err != nil {
			v.fault(at, "%s, service %s: %v", subject, name, err)
			continue
		}
		if host, err := netip.ParseAddr(s.Host); err == nil {
			v.inNetwork(at, env, subject+", service "+name, host)
		}
		if other, taken := ports[s.Port]; taken {
			v.fault(at, "%s: services %s and %s are both at port %d", subject, other, name, s.Port)
		}
		ports[s.Port] = name
	}
	v.credentials(key(path, "credentials"), subject, w)
}

// credentials demands services that a secret can be shown to, in a head.
func (v *validator) credentials(path, subject string, w *policyv1.Workload) {
	for _, name := range slices.Sorted(maps.Keys(w.GetCredentials())) {
		at, secret := key(path, name), w.GetCredentials()[name]
		v.reference(at, subject, "service", name, slices.Sorted(maps.Keys(w.GetServes())))
		if !address.IsLabel(secret) {
			v.fault(at, "%s, service %s: secret %q: a name is a DNS label, as the gateway's bootstrap file has it under secrets", subject, name, secret)
		}
		if s, err := parseService(name, w.GetServes()[name]); err == nil && !s.takesCredential() {
			v.fault(at, "%s, service %s: no head of %s is the gateway's to show a secret in", subject, name, s.Protocol)
		}
	}
}

// holds judges how much of a content is held.
func (v *validator) holds(path, subject string, w *policyv1.Workload) {
	for _, service := range slices.Sorted(maps.Keys(w.GetHold())) {
		v.reference(key(path, service), subject, "service", service, slices.Sorted(maps.Keys(w.GetServes())))
		if _, err := parseHold(w.GetHold()[service]); err != nil {
			v.fault(key(path, service), "%s, service %s: %v", subject, service, err)
		}
	}
}

// selector demands one that selects something.
func (v *validator) selector(path, subject, text string) {
	s, err := parseSelector(text)
	if err != nil {
		v.fault(path, "%s: %v", subject, err)
		return
	}
	switch s.how {
	case everyone:
	case byName:
		v.reference(path, subject, "workload", s.name, v.workloadNames)
	case byEnvironment:
		v.reference(path, subject, "environment", s.name, v.environmentNames)
	case byLabel:
		if !v.labelled(s.name, s.labelValue) {
			v.fault(path, "%s: no workload has the label %s", subject, fmt.Sprintf("%s=%s", s.name, s.labelValue))
		}
	case byPattern:
		v.identity(path, subject, text)
	}
}

func (v *validator) labelled(name, value string) bool {
	for _, w := range v.p.GetWorkloads() {
		if got, ok := w.GetLabels()[name]; ok && got == value {
			return true
		}
	}
	return false
}
