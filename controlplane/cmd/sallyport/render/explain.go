package render

import (
	"fmt"
	"io"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/dataclass"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Explanation writes how a call is decided, who answers for it, of what class its data
// is, and what became of each intent that the caller or the callee has to do with.
func Explanation(w io.Writer, e policy.Explanation, classes dataclass.View, ref policy.Ref) error {
	g := NewGrid()
	g.Row(Name(e.Query.From.String())+" ─► "+e.Query.To.Name+serviceWord(e.Query.Service), outcome(e.Decision), e.Summary)
	if err := g.Flush(w); err != nil {
		return err
	}
	facts := NewGrid().Indent()
	facts.Row("caller", e.Query.From.String())
	facts.Row("callee", e.Query.To.ID.String())
	if t := e.Decision.Transition; t != nil {
		facts.Row("transition", Pair(t.From, t.To)+", owner "+orQuestion(t.Owner)+", sink "+orQuestion(t.Sink)+", review by "+orQuestion(t.ReviewBy))
		facts.Row("on call", t.OnCall)
		if words := recordWords(t); words != "" {
			facts.Row("record", words)
		}
	}
	classRows(facts, &e, &classes)
	facts.Row("policy", Ref(&crossingv1.PolicyRef{Serial: ref.Serial, Revision: ref.Revision}))
	if audience := proofAudience(e); audience != "" {
		facts.Row("proof", fmt.Sprintf("the caller sends, in %s, a JWT-SVID of its own for the audience %s alone, at most %d minutes old",
			crossing.ProofField, audience, int(crossing.ProofAge.Minutes())))
	}
	if e.Decision.Digest {
		facts.Row("content", "only of a SHA-256 that the intent's list has, or that a manifest of it names")
	}
	if err := facts.Flush(w); err != nil || len(e.Considered) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return considered(w, e.Considered, classes.Intents)
}

// classRows say of what class the data of a call is, and, where nobody says so, what
// would be if somebody did.
func classRows(facts *Grid, e *policy.Explanation, classes *dataclass.View) {
	if asked := classes.Asked.String(); asked != "" {
		facts.Row("data class", asked)
		facts.Row("of answers", classes.Answered.String())
	}
	if len(e.Considered) == 0 {
		return
	}
	for _, would := range classes.Decisions() {
		facts.Row("registered", would)
	}
}

// recordWords say how crossings of a transition are recorded where that is another
// way than the usual one.
func recordWords(t *policy.Transition) string {
	var words []string
	if !t.Durable {
		words = append(words, "written before the first byte, on stable storage soon after (record: async)")
	}
	if t.GoesOn {
		words = append(words, "calls go on while a gateway cannot write records, with an alarm (outage: alarm)")
	}
	return strings.Join(words, "; ")
}

func either(is bool, then, otherwise string) string {
	if is {
		return then
	}
	return otherwise
}

// proofAudience is that of the proof which the caller must send; "" if none is
// required.
func proofAudience(e policy.Explanation) string {
	if !e.Decision.Proof {
		return ""
	}
	return crossing.ProofAudience(e.Query.To.Host())
}

func considered(w io.Writer, all []policy.Considered, missing map[string]string) error {
	g := NewGrid("INTENT", "DECISION", "MATCHES", "WHY")
	for _, c := range all {
		matches := "no"
		if c.Matched {
			matches = "yes"
		}
		why := c.Why
		if class := missing[c.Intent]; class != "" {
			why += "; " + class
		}
		g.Row(c.Intent, polarity(c.Deny), matches, why)
	}
	return g.Flush(w)
}

func outcome(d policy.Decision) string {
	if d.Allow {
		return crossingv1.Decision_ALLOW.String()
	}
	return crossingv1.Decision_DENY.String()
}

func polarity(deny bool) string {
	if deny {
		return "deny"
	}
	return "allow"
}

func serviceWord(name string) string {
	if name == "" {
		return ""
	}
	return " " + name
}

// ExplanationValue is an explanation for scripts.
func ExplanationValue(e policy.Explanation, classes dataclass.View, ref policy.Ref) Object {
	o := Object{
		{"from", e.Query.From.String()},
		{"to", e.Query.To.ID.String()},
		{"service", e.Query.Service},
		{"decision", outcome(e.Decision)},
		{"limited", e.Decision.Limited},
		{"idempotent", e.Decision.Idempotent},
		{"proofAudience", proofAudience(e)},
		{"reason", e.Decision.Reason.String()},
		{"intent", e.Decision.Intent},
		{"summary", e.Summary},
	}
	if t := e.Decision.Transition; t != nil {
		o = append(o, Member{"transition", Object{
			{"from", t.From},
			{"to", t.To},
			{"owner", t.Owner},
			{"onCall", t.OnCall},
			{"sink", t.Sink},
			{"reviewBy", t.ReviewBy},
			{"record", either(t.Durable, "durable", "async")},
			{"outage", either(t.GoesOn, "alarm", "refuse")},
		}})
	}
	list := make(List, len(e.Considered))
	for i, c := range e.Considered {
		list[i] = Object{
			{"intent", c.Intent},
			{"decision", polarity(c.Deny)},
			{"matched", c.Matched},
			{"why", c.Why},
			{"missingClass", classes.Intents[c.Intent]},
		}
	}
	return append(append(o, classValues(&classes)...),
		Member{"policy", Object{{"serial", Number(ref.Serial)}, {"revision", ref.Revision}}},
		Member{"considered", list})
}

func classValues(v *dataclass.View) Object {
	would := make(List, len(v.Would))
	for i, w := range v.Would {
		would[i] = Object{
			{"whose", w.Whose},
			{"class", w.Class},
			{"decision", outcome(policy.Decision{Allow: w.Allow})},
			{"intent", w.Intent},
			{"summary", w.Summary},
		}
	}
	class := func(c dataclass.Class) Object { return Object{{"class", c.Name}, {"source", c.Source.String()}} }
	return Object{{"dataClass", class(v.Asked)}, {"answerClass", class(v.Answered)}, {"registered", would}}
}
