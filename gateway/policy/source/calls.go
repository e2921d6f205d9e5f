package source

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// maxPairs bounds the pairs of workloads that are compared one by one. A change
// that touches more is said as such.
const maxPairs = 100_000

// touched is what differs between two policies as far as calls depend on it.
// Comparing all pairs of workloads would take as many steps as there are pairs.
type touched struct {
	all       bool               // no call is as it was for sure
	workloads map[string]bool    // by name
	pairs     map[[2]string]bool // of environments: their transitions
	denies    []*policyv1.Match  // of intents that differ, as they were and are
	allows    map[string]bool    // of intents that differ, by name
}

func newTouched() *touched {
	return &touched{workloads: map[string]bool{}, pairs: map[[2]string]bool{}, allows: map[string]bool{}}
}

// add notes an object that differs; either side may be nil.
func (t *touched) add(k object, before, after proto.Message) {
	switch k.kind {
	case "workload":
		t.workloads[k.name] = true
	case "transition":
		from, to, _ := strings.Cut(k.name, " ─► ")
		t.pairs[[2]string{from, to}] = true
	case "environment":
		t.all = true
	case "intent":
		t.allows[k.name] = true
		for _, m := range []proto.Message{before, after} {
			if in, ok := m.(*policyv1.Intent); ok && in.GetDeny() != nil {
				t.denies = append(t.denies, in.GetDeny())
			}
		}
	}
}

// pair is a caller's name and a callee's.
type pair struct{ from, to string }

// side is one of the two policies that are compared.
type side struct {
	source   *policyv1.Policy
	compiled *policy.Policy                // nil if there is no policy
	selected map[string][]*policy.Workload // by selector
	sets     map[string]map[string]bool    // likewise, their names
}

func newSide(p *policyv1.Policy) (*side, error) {
	s := &side{source: p, selected: map[string][]*policy.Workload{}, sets: map[string]map[string]bool{}}
	if p == nil {
		return s, nil
	}
	var err error
	s.compiled, err = policy.Compile(p, policy.Ref{})
	return s, err
}

// diffCalls says of which calls it changed whether they may cross.
func diffCalls(from, to *policyv1.Policy, t *touched, now time.Time) []Change {
	was, err := newSide(from)
	is, wrong := newSide(to)
	if err != nil || wrong != nil {
		return nil
	}
	candidates := map[pair]bool{}
	if !was.candidates(t, candidates) || !is.candidates(t, candidates) {
		return []Change{{
			What: "changed", Object: "calls",
			Name: fmt.Sprintf("of more than %d pairs of workloads: too many to compare one by one", maxPairs),
		}}
	}
	var changes []Change
	for p := range candidates {
		for _, service := range either(was.services(p.to), is.services(p.to)) {
			before, after := was.reach(p, service, now), is.reach(p, service, now)
			if before != after {
				name := strings.TrimSpace(p.from + " ─► " + p.to + " " + service)
				changes = append(changes, Change{"changed", "calls", name, before.String(), after.String()})
			}
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	return changes
}

func either(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *side) workload(name string) *policy.Workload {
	if s.compiled == nil {
		return nil
	}
	return s.compiled.Workload(name)
}

// services are the names of what a workload serves, if it is there.
func (s *side) services(name string) []string {
	var names []string
	if w := s.workload(name); w != nil {
		for i := range w.Services {
			names = append(names, w.Services[i].Name)
		}
	}
	return names
}

func (s *side) reach(p pair, service string, now time.Time) policy.Reach {
	from, to := s.workload(p.from), s.workload(p.to)
	if from == nil || to == nil {
		return policy.Never
	}
	return s.compiled.ReachOf(from, to, service, now)
}

// candidates adds the pairs of which calls may have changed. Only a pair that
// some allow speaks of can be more than shut, so each allow is asked for its own,
// and of those for the ones that something touched. It fails if they are too many.
func (s *side) candidates(t *touched, out map[pair]bool) bool {
	for _, in := range s.source.GetIntents() {
		m := in.GetAllow()
		if m == nil {
			continue
		}
		from, to := s.members(m.GetFrom()), s.serving(m)
		if t.all || t.allows[in.GetName()] {
			if !s.cross(from, to, out) {
				return false
			}
			continue
		}
		ok := s.cross(named(from, t.workloads), to, out) && s.cross(from, named(to, t.workloads), out)
		for p := range t.pairs {
			ok = ok && s.cross(within(from, p[0]), within(to, p[1]), out)
		}
		for _, deny := range t.denies {
			ok = ok && s.cross(named(from, s.names(deny.GetFrom())), named(to, s.names(deny.GetTo())), out)
		}
		if !ok {
			return false
		}
	}
	return true
}

// cross adds all pairs of two sets that a transition leads between.
func (s *side) cross(from, to []*policy.Workload, out map[pair]bool) bool {
	if len(from)*len(to) > 100*maxPairs {
		return false
	}
	for _, f := range from {
		for _, t := range to {
			if s.compiled.TransitionOf(f.Environment, t.Environment) == nil {
				continue
			}
			out[pair{f.Name, t.Name}] = true
			if len(out) > maxPairs {
				return false
			}
		}
	}
	return true
}

// serving are the callees of a match that serve what it is about.
func (s *side) serving(m *policyv1.Match) []*policy.Workload {
	return filter(s.members(m.GetTo()), func(w *policy.Workload) bool {
		return len(w.Services) > 0 && (m.GetService() == "" || w.Service(m.GetService()) != nil)
	})
}

// members are the workloads that a selector may select. Of a pattern they are all
// of its trust domain: reach looks closer.
func (s *side) members(selector string) []*policy.Workload {
	if found, ok := s.selected[selector]; ok {
		return found
	}
	var found []*policy.Workload
	environment, byEnvironment := strings.CutPrefix(selector, "environment:")
	label, byLabel := strings.CutPrefix(selector, "label:")
	switch {
	case s.compiled == nil:
	case selector == "" || selector == "*":
		found = s.compiled.Workloads()
	case byEnvironment:
		found = within(s.compiled.Workloads(), environment)
	case byLabel:
		key, value, _ := strings.Cut(label, "=")
		found = filter(s.compiled.Workloads(), func(w *policy.Workload) bool {
			got, ok := w.Labels[key]
			return ok && got == value
		})
	case strings.Contains(selector, "://"):
		domain := strings.Join(strings.SplitN(selector, "/", 4)[:3], "/") + "/"
		found = filter(s.compiled.Workloads(), func(w *policy.Workload) bool {
			return strings.HasPrefix(w.ID.String(), domain) || strings.HasPrefix(w.Pattern, domain)
		})
	default:
		if w := s.compiled.Workload(selector); w != nil {
			found = []*policy.Workload{w}
		}
	}
	s.selected[selector] = found
	return found
}

// names are those of a selector's members.
func (s *side) names(selector string) map[string]bool {
	set, ok := s.sets[selector]
	if !ok {
		set = map[string]bool{}
		for _, w := range s.members(selector) {
			set[w.Name] = true
		}
		s.sets[selector] = set
	}
	return set
}

func filter(all []*policy.Workload, keep func(*policy.Workload) bool) []*policy.Workload {
	var kept []*policy.Workload
	for _, w := range all {
		if keep(w) {
			kept = append(kept, w)
		}
	}
	return kept
}

func named(all []*policy.Workload, names map[string]bool) []*policy.Workload {
	if len(names) == 0 {
		return nil
	}
	return filter(all, func(w *policy.Workload) bool { return names[w.Name] })
}

func within(all []*policy.Workload, environment string) []*policy.Workload {
	return filter(all, func(w *policy.Workload) bool { return w.Environment == environment })
}
