package policy

import (
	"maps"
	"slices"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// maxGuards bounds the guards of a policy: a record names those that were asked.
const maxGuards = 16

// The gateways that may ask a guard, as a policy writes them.
const (
	atEgress  = "egress"
	atIngress = "ingress"
)

// Guard is a program of an operator's that is shown the content of a request and says
// whether it may pass. Where it is, only the gateway that asks it knows.
type Guard struct {
	Name  string
	Owner string          // the team that answers for it
	At    crossingv1.Side // of the gateway that asks it: EGRESS or INGRESS
}

// guardOf compiles the guard of that name, which Validate has accepted; nil for "".
func guardOf(in *policyv1.Policy, name string) *Guard {
	if name == "" {
		return nil
	}
	g := in.GetGuards()[name]
	at := crossingv1.Side_EGRESS
	if g.GetAt() == atIngress {
		at = crossingv1.Side_INGRESS
	}
	return &Guard{Name: name, Owner: g.GetOwner(), At: at}
}

// needs is how a decision names a guard; "" if there is none.
func (g *Guard) needs() string {
	switch {
	case g == nil:
		return ""
	case g.At == crossingv1.Side_INGRESS:
		return ", if guard " + g.Name + " lets it pass at the ingress gateway"
	}
	return ", if guard " + g.Name + " lets it pass at the egress gateway"
}

func (v *validator) guards() {
	guards := v.p.GetGuards()
	if len(guards) > maxGuards {
		v.fault("guards", "%d guards: at most %d", len(guards), maxGuards)
	}
	for _, name := range v.guardNames() {
		g, path, subject := guards[name], key("guards", name), "guard "+name
		v.name(path, "guard", name)
		v.team(key(path, "owner"), subject, "owner", g.GetOwner(), "Name the team that answers for what it lets pass.")
		if at := g.GetAt(); at != "" && at != atEgress && at != atIngress {
			v.fault(key(path, "at"), "%s: at is %s or %s, the gateway that asks it, not %q", subject, atEgress, atIngress, at)
		}
	}
}

func (v *validator) guardNames() []string { return slices.Sorted(maps.Keys(v.p.GetGuards())) }

// requireGuard demands a guard that the policy knows.
func (v *validator) requireGuard(path, subject, guard string) {
	if v.p.GetGuards()[guard] == nil && len(v.p.GetGuards()) == 0 {
		v.fault(path, "%s: unknown guard %q. Say under guards who answers for it, and where the guard is in the bootstrap file of the gateways that ask it.", subject, guard)
		return
	}
	v.reference(path, subject, "guard", guard, v.guardNames())
}
