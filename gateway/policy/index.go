package policy

import (
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// subject is what a caller counts as: a workload, or merely somebody of an
// environment.
type subject struct {
	workload    *Workload // nil for an environment
	environment int
	class       int    // of what it sends unless it is labelled
	exact       bool   // its intents need not be held against the ID again
	intents     bitset // that may be about it as a caller
}

// index makes the sets that Decide intersects.
func (p *Policy) index() {
	p.indexServices()
	p.indexData()
	from, to := p.newSides()
	p.byID = make(map[spiffeid.ID]int32, len(p.workloads))
	p.forms = map[spiffeid.TrustDomain]*trie{}
	for i, w := range p.workloads {
		form := &p.patterns[i]
		p.subjects = append(p.subjects, subject{
			workload: w, environment: p.domains[form.td], class: p.class(w.DataClass),
			exact: form.exact(), intents: from.of(w, form),
		})
		p.callees = append(p.callees, to.of(w, form))
		p.addForm(i, form)
	}
	for i, env := range p.environments {
		p.subjects = append(p.subjects, subject{
			environment: i, class: p.lastClass(), intents: from.ofEnvironment(env),
		})
	}
}

func (p *Policy) addForm(i int, form *pattern) {
	if form.exact() {
		p.byID[form.id] = int32(i) //nolint:gosec // a policy is bounded far below 2^31 workloads
		return
	}
	if p.forms[form.td] == nil {
		p.forms[form.td] = newTrie()
	}
	p.forms[form.td].add(form.segments, i)
}

func (p *Policy) indexServices() {
	p.any = newBitset(len(p.intents))
	for i := range p.intents {
		if p.intents[i].service == "" {
			p.any.set(i)
		}
	}
	p.services = map[string]bitset{}
	for _, w := range p.workloads {
		for i := range w.Services {
			if name := w.Services[i].Name; p.services[name] == nil {
				p.services[name] = p.any.clone()
			}
		}
	}
	for i := range p.intents {
		if set := p.services[p.intents[i].service]; set != nil {
			set.set(i)
		}
	}
}

// indexData makes a set for each environment and data class. A call is about
// those of the caller's environment and what it sends, and of the callee's and
// what it answers.
func (p *Policy) indexData() {
	for environment := range p.environments {
		for class := range p.lastClass() + 1 {
			set := newBitset(len(p.intents))
			for i := range p.intents {
				if p.intents[i].leaves(environment, class) {
					set.set(i)
				}
			}
			p.data = append(p.data, set)
		}
	}
}

// dataSet is the set of the intents about data of a class that leaves an
// environment.
func (p *Policy) dataSet(environment, class int) bitset {
	return p.data[environment*(p.lastClass()+1)+class]
}

// class is the place of a data class in their order; an unknown or missing one
// counts as the last.
func (p *Policy) class(name string) int {
	for i, c := range p.classes {
		if c == name {
			return i
		}
	}
	return p.lastClass()
}

func (p *Policy) lastClass() int { return max(len(p.classes)-1, 0) }

// side groups the intents by one of their two selectors, so that a workload's
// set is put together from few others.
type side struct {
	intents      []intent
	caller       bool // it is the intents' from, else their to
	everyone     bitset
	names        map[string]bitset
	environments map[string]bitset
	labels       map[[2]string]bitset
	patterned    map[spiffeid.TrustDomain][]int
}

func (p *Policy) newSides() (from, to *side) {
	return newSide(p.intents, true), newSide(p.intents, false)
}

func newSide(intents []intent, caller bool) *side {
	s := &side{
		intents: intents, caller: caller, everyone: newBitset(len(intents)),
		names: map[string]bitset{}, environments: map[string]bitset{},
		labels: map[[2]string]bitset{}, patterned: map[spiffeid.TrustDomain][]int{},
	}
	for i := range intents {
		switch sel := s.selector(i); sel.how {
		case everyone:
			s.everyone.set(i)
		case byName:
			put(s.names, sel.name, i, len(intents))
		case byEnvironment:
			put(s.environments, sel.name, i, len(intents))
		case byLabel:
			put(s.labels, [2]string{sel.name, sel.labelValue}, i, len(intents))
		case byPattern:
			s.patterned[sel.pattern.td] = append(s.patterned[sel.pattern.td], i)
		}
	}
	return s
}

func (s *side) selector(i int) *selector {
	if s.caller {
		return &s.intents[i].from
	}
	return &s.intents[i].to
}

func put[K comparable](sets map[K]bitset, key K, i, n int) {
	if sets[key] == nil {
		sets[key] = newBitset(n)
	}
	sets[key].set(i)
}

// of is the set of the intents that may be about a workload. Of a workload that
// stands for many IDs, those whose pattern fits some of them are in it: as a
// caller it is held against the ID again; as a callee an allow must fit all.
func (s *side) of(w *Workload, form *pattern) bitset {
	set := s.everyone.clone()
	set.add(s.names[w.Name])
	set.add(s.environments[w.Environment])
	for k, v := range w.Labels {
		set.add(s.labels[[2]string{k, v}])
	}
	for _, i := range s.patterned[form.td] {
		if some := s.caller || s.intents[i].deny; s.selector(i).fits(form, some) {
			set.set(i)
		}
	}
	return set
}

// ofEnvironment is the set of the intents that may be about an ID that no
// workload has.
func (s *side) ofEnvironment(env string) bitset {
	set := s.everyone.clone()
	set.add(s.environments[env])
	for _, indices := range s.patterned {
		for _, i := range indices {
			set.set(i) // held against the ID again
		}
	}
	return set
}
