package source

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// unproven are the intents of a valid policy that require a proof for calls which
// another one allows without: any allow will do, so that nobody has to prove
// anything. Where conditions or patterns tell the two apart, nothing is said.
func unproven(p *policyv1.Policy) policy.Faults {
	var proven, free []int
	for i, in := range p.GetIntents() {
		switch {
		case in.GetAllow() == nil:
		case in.GetRequire().GetWorkloadProof():
			proven = append(proven, i)
		case in.GetWhen() == "" && len(in.GetLimits()) == 0 && in.GetRequire() == nil:
			free = append(free, i)
		}
	}
	s, err := newSide(p)
	if err != nil || len(proven)*len(free) > maxPairs {
		free = nil // too many to look at
	}
	var f policy.Faults
	for _, i := range proven {
		for _, j := range free {
			in, other := p.GetIntents()[i], p.GetIntents()[j]
			if call := s.common(in.GetAllow(), other.GetAllow()); call != "" {
				f = append(f, policy.Fault{
					Path:    fmt.Sprintf("intents[%d].require", i),
					Message: fmt.Sprintf("intent %s: %s without a proof too, by intent %s", in.GetName(), call, other.GetName()),
				})
				break
			}
		}
	}
	return f
}

// common says of two allows which calls both are about, such as "orchestrator may
// call vault"; "" if none are for sure.
func (s *side) common(a, b *policyv1.Match) string {
	if a.GetService() != "" && b.GetService() != "" && a.GetService() != b.GetService() ||
		!overlap(a.GetMethods(), b.GetMethods(), func(x, y string) bool { return x == y }) ||
		!overlap(a.GetPaths(), b.GetPaths(), pathsOverlap) ||
		!tellApart(a.GetFrom(), b.GetFrom()) || !tellApart(a.GetTo(), b.GetTo()) {
		return ""
	}
	from := oneOfEach(both(s.members(a.GetFrom()), s.members(b.GetFrom())))
	to := oneOfEach(both(s.serving(a), s.serving(b)))
	for _, f := range from {
		for _, t := range to {
			if s.compiled.TransitionOf(f.Environment, t.Environment) != nil {
				return f.Name + " may call " + t.Name
			}
		}
	}
	return ""
}

// tellApart says that the members of two selectors tell whether they have IDs in
// common: of patterns they do not.
func tellApart(a, b string) bool {
	return a == b || !strings.Contains(a, "://") && !strings.Contains(b, "://")
}

// both are the workloads that are in two lists.
func both(a, b []*policy.Workload) []*policy.Workload {
	in := make(map[*policy.Workload]bool, len(b))
	for _, w := range b {
		in[w] = true
	}
	return filter(a, func(w *policy.Workload) bool { return in[w] })
}

// oneOfEach is the first workload of each environment: which calls may cross at all
// is for environments to say.
func oneOfEach(all []*policy.Workload) []*policy.Workload {
	seen := map[string]bool{}
	return filter(all, func(w *policy.Workload) bool {
		first := !seen[w.Environment]
		seen[w.Environment] = true
		return first
	})
}

// overlap says whether two lists, each of which means all if it is empty, have
// something in common.
func overlap(a, b []string, same func(x, y string) bool) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return same(x, y) })
	})
}

// pathsOverlap says whether two paths of intents have one in common.
func pathsOverlap(a, b string) bool {
	x, below := strings.CutSuffix(a, "*")
	y, also := strings.CutSuffix(b, "*")
	return x == y && below == also || below && strings.HasPrefix(y, x) || also && strings.HasPrefix(x, y)
}
