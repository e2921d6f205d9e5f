package dataclass

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// View is what classes have to do with a call.
type View struct {
	Asked    Class // of what the caller sends
	Answered Class // of what the callee answers
	// Would are the decisions if those who have no class were registered as lower
	// ones; none if both have one.
	Would []Would
	// Intents says, by its name, what the missing class does to an intent. Those that
	// it does nothing to are not there.
	Intents map[string]string
}

// Would is what would be decided.
type Would struct {
	Whose   string // the caller, the callee, or both
	Class   string
	Allow   bool
	Intent  string
	Summary string // the decision in a phrase
}

// Missing looks at a call that was explained. What a missing class does is found by
// asking the policy again with each lower one in its place: in is what it was compiled
// of.
func Missing(in *policyv1.Policy, p *policy.Policy, e policy.Explanation) (View, error) {
	v := View{Asked: asked(p, &e.Query), Answered: ofWorkload(p, e.Query.To), Intents: map[string]string{}}
	var effects effects
	for _, who := range v.missing() {
		for _, class := range p.DataClasses()[:len(p.DataClasses())-1] {
			other, err := who.ask(in, p, &e.Query, class)
			if err != nil {
				return View{}, fmt.Errorf("ask with %s of class %s: %w", who.name, class, err)
			}
			v.Would = append(v.Would, Would{who.name, class, other.Decision.Allow, other.Decision.Intent, other.Summary})
			effects.compare(who.name, class, e.Considered, other.Considered)
		}
	}
	for _, c := range e.Considered {
		if s := effects.of(c); s != "" {
			v.Intents[c.Intent] = s
		}
	}
	return v, nil
}

// party is who has no class, and would get one.
type party struct {
	name           string
	caller, callee bool
}

func (v *View) missing() []party {
	caller, callee := v.Asked.Source == crossingv1.Operation_DEFAULT, v.Answered.Source == crossingv1.Operation_DEFAULT
	var all []party
	if caller {
		all = append(all, party{"the caller", true, false})
	}
	if callee {
		all = append(all, party{"the callee", false, true})
	}
	if caller && callee {
		all = append(all, party{"both", true, true})
	}
	return all
}

// ask asks as if the party were registered as a class. To label what the caller sends
// comes to the same, and needs no registration of whoever has none at all.
func (who party) ask(in *policyv1.Policy, p *policy.Policy, q *policy.Query, class string) (policy.Explanation, error) {
	attributes := known(q)
	if who.caller {
		attributes[policy.DataClass.String()] = class
	}
	if who.callee {
		in = proto.CloneOf(in)
		w := in.GetWorkloads()[q.To.Name]
		if w.Data == nil {
			w.Data = &policyv1.DataRule{}
		}
		w.Data.Class = class
		var err error
		if p, err = policy.Compile(in, p.Ref()); err != nil {
			return policy.Explanation{}, err
		}
	}
	return policy.Explain(p, q.From.String(), q.To.Name, q.Service, attributes, q.Now)
}

// known are the attributes of a question, as it was asked.
func known(q *policy.Query) map[string]string {
	m := map[string]string{}
	for _, a := range policy.AllAttributes() {
		if text, ok := q.Attributes.Get(a); ok {
			m[a.String()] = text
		}
	}
	return m
}

// effects are the classes with which intents would be another thing.
type effects map[string][]effect

type effect struct {
	whose   string
	classes []string
}

func (all *effects) compare(whose, class string, now, then []policy.Considered) {
	for i, c := range now {
		if c.Matched == then[i].Matched {
			continue
		}
		if *all == nil {
			*all = effects{}
		}
		of := (*all)[c.Intent]
		if n := len(of); n == 0 || of[n-1].whose != whose {
			of = append(of, effect{whose: whose})
		}
		of[len(of)-1].classes = append(of[len(of)-1].classes, class)
		(*all)[c.Intent] = of
	}
}

// of says what a missing class does to an intent; of both parties' only where neither's
// alone does it.
func (all effects) of(c policy.Considered) string {
	found := all[c.Intent]
	if len(found) > 1 {
		found = slices.DeleteFunc(slices.Clone(found), func(e effect) bool { return e.whose == "both" })
	}
	var words []string
	for _, e := range found {
		has, would := " has", " would"
		if e.whose == "both" {
			has = " have"
		}
		if c.Matched {
			would += " not"
		}
		words = append(words, "because "+e.whose+has+" no class: as "+orList(e.classes)+" it"+would)
	}
	return strings.Join(words, "; ")
}

func orList(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}

// Decisions are what would be decided, in phrases: one for each party, and for both
// only where that is another thing than for either alone.
func (v *View) Decisions() []string {
	var lines []string
	for i := 0; i < len(v.Would); {
		w, n := v.Would[i], i
		var classes []string
		for ; n < len(v.Would) && v.Would[n].Whose == w.Whose && v.Would[n].Summary == w.Summary; n++ {
			classes = append(classes, v.Would[n].Class)
		}
		i = n
		if w.Whose != "both" || !v.alone(w) {
			lines = append(lines, w.Whose+" as "+orList(classes)+": "+w.Summary)
		}
	}
	return lines
}

// alone says that what would be decided of both would be so of one of them too.
func (v *View) alone(both Would) bool {
	return slices.ContainsFunc(v.Would, func(w Would) bool {
		return w.Whose != both.Whose && w.Class == both.Class && w.Summary == both.Summary
	})
}
