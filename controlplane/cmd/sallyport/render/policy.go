package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Policy writes the tables of `policy show`: what may be crossed and who answers
// for it, and the intents in short.
func Policy(w io.Writer, m *policyv1.Manifest, p *policyv1.Policy) error {
	if _, err := fmt.Fprintf(w, "policy %s serial %d %s\n\n", Printable(m.GetPolicy()), m.GetSerial(), Printable(m.GetRevision())); err != nil {
		return err
	}
	transitions := NewGrid("TRANSITION", "OWNER", "SINK", "REVIEW BY")
	wFrom, wTo := 0, 0
	for _, t := range p.GetTransitions() {
		wFrom, wTo = max(wFrom, columns(t.GetFrom())), max(wTo, columns(t.GetTo()))
	}
	for _, t := range p.GetTransitions() {
		transitions.Row(Padded(t.GetFrom(), t.GetTo(), wFrom, wTo), t.GetOwner(), t.GetSink(), t.GetReviewBy())
	}
	if err := transitions.Flush(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return intents(w, p)
}

func intents(w io.Writer, p *policyv1.Policy) error {
	g := NewGrid("INTENT", "DECISION", "FROM", "TO", "SERVICE", "AND")
	for _, i := range p.GetIntents() {
		decision, match := "allow", i.GetAllow()
		if i.GetDeny() != nil {
			decision, match = "deny", i.GetDeny()
		}
		g.Row(i.GetName(), decision, star(match.GetFrom()), star(match.GetTo()), star(match.GetService()), narrowed(i, match))
	}
	return g.Flush(w)
}

func star(s string) string {
	if s == "" {
		return "*"
	}
	return s
}

// narrowed is what else an intent asks for.
func narrowed(i *policyv1.Intent, m *policyv1.Match) string {
	var words []string
	add := func(text string) {
		if text != "" {
			words = append(words, text)
		}
	}
	add(strings.Join(m.GetMethods(), "|"))
	add(strings.Join(m.GetPaths(), "|"))
	if m.GetData() != "" {
		add("data " + m.GetData() + " leaving " + star(strings.TrimPrefix(m.GetLeaving(), "environment:")))
	}
	if i.GetWhen() != "" {
		add("when " + i.GetWhen())
	}
	if len(i.GetLimits()) > 0 {
		add("limits " + strings.ReplaceAll(pairs(i.GetLimits()), "=", " "))
	}
	if i.GetIdempotent() {
		add("idempotent")
	}
	if d := i.GetRequire().GetDigest(); d != nil {
		add("digest in " + d.GetIn())
	}
	if i.GetRequire().GetWorkloadProof() {
		add("workload-proof")
	}
	if v := i.GetValid(); v != nil {
		add("valid " + v.GetNotBefore() + " – " + v.GetNotAfter())
	}
	return strings.Join(words, ", ")
}

// WorkloadsOf lists a policy's workloads by environment and name, each with its
// name and environment beside what the policy says of it.
func WorkloadsOf(p *policyv1.Policy) []Workload {
	environments := map[string]string{}
	for name, e := range p.GetEnvironments() {
		environments[e.GetTrustDomain()] = name
	}
	var list []Workload
	for _, name := range slices.Sorted(maps.Keys(p.GetWorkloads())) {
		w := p.GetWorkloads()[name]
		td, _, _ := strings.Cut(strings.TrimPrefix(w.GetId(), "spiffe://"), "/")
		list = append(list, Workload{Name: name, Environment: environments[td], Entry: w})
	}
	slices.SortStableFunc(list, func(a, b Workload) int { return strings.Compare(a.Environment, b.Environment) })
	return list
}

// Workload is a workload of a policy.
type Workload struct {
	// Name in the policy.
	Name string
	// Environment it is in.
	Environment string
	// Entry is what the policy says of it.
	Entry *policyv1.Workload
}

// Value is the workload for scripts.
func (w Workload) Value() Object {
	o := Object{{"workload", w.Name}, {"environment", w.Environment}}
	return append(o, Sparse(w.Entry)...)
}

// Workloads writes the table of `workloads list`.
func Workloads(w io.Writer, list []Workload) error {
	g := NewGrid("WORKLOAD", "ENVIRONMENT", "OWNER", "ID", "SERVES")
	for _, l := range list {
		g.Row(l.Name, l.Environment, l.Entry.GetOwner(), l.Entry.GetId(), pairs(l.Entry.GetServes()))
	}
	return g.Flush(w)
}
