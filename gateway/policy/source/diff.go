package source

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Change is one difference between two policies: an object that was added,
// removed or changed, or calls that may cross now or no longer.
type Change struct {
	// What: "added", "removed" or "changed".
	What string
	// Object is its kind: policy, data classes, team, sink, environment,
	// workload, transition, intent, list, exception, test or calls.
	Object string
	// Name of the object. Of calls: "CALLER ─► CALLEE SERVICE".
	Name string
	// Before and After say in short what it was and is: of calls, of intents and
	// transitions, and of what the policy has one of. Empty where there was nothing.
	Before, After string
}

// String is the change in a line, such as "changed calls a ─► b chat: no call
// before, every call now".
func (c Change) String() string {
	s := c.What + " " + c.Object + " " + c.Name
	if c.Before != "" || c.After != "" {
		s += fmt.Sprintf(": %s before, %s now", cmp.Or(c.Before, "none"), cmp.Or(c.After, "none"))
	}
	return s
}

// Diff says what differs from one policy to another, either of which may be nil:
// objects by kind and name, then which calls may cross, as of now. Calls are
// told only if both policies are valid; a nil one allows none.
func Diff(from, to *policyv1.Policy) []Change {
	changes := diffHeads(from, to)
	was, is := objects(from), objects(to)
	touched := newTouched()
	for _, k := range slices.SortedFunc(maps.Keys(union(was, is)), object.compare) {
		before, after := was[k], is[k]
		c := Change{What: "changed", Object: k.kind, Name: k.name, Before: inShort(before), After: inShort(after)}
		switch {
		case before == nil:
			c.What = "added"
		case after == nil:
			c.What = "removed"
		case proto.Equal(before, after):
			continue
		}
		changes = append(changes, c)
		touched.add(k, before, after)
	}
	touched.all = !slices.Equal(from.GetDataClasses(), to.GetDataClasses())
	return append(changes, diffCalls(from, to, touched, time.Now())...)
}

func diffHeads(from, to *policyv1.Policy) []Change {
	var changes []Change
	for _, h := range [...]struct{ object, before, after string }{
		{"policy", from.GetPolicy(), to.GetPolicy()},
		{"data classes", strings.Join(from.GetDataClasses(), " < "), strings.Join(to.GetDataClasses(), " < ")},
	} {
		if h.before != h.after {
			changes = append(changes, Change{What: "changed", Object: h.object, Before: h.before, After: h.after})
		}
	}
	return changes
}

// object names an object of a policy. Those without a name of their own have
// their content for one, so that two alike are still two.
type object struct{ kind, name, content string }

func (o object) compare(p object) int {
	kinds := []string{"team", "sink", "environment", "workload", "transition", "intent", "list", "exception", "test"}
	return cmp.Or(cmp.Compare(slices.Index(kinds, o.kind), slices.Index(kinds, p.kind)),
		strings.Compare(o.name, p.name), strings.Compare(o.content, p.content))
}

func objects(p *policyv1.Policy) map[object]proto.Message {
	p = proto.CloneOf(p)
	signed.Normalize(p)
	out := map[object]proto.Message{}
	addAll(out, "team", p.GetTeams())
	addAll(out, "sink", p.GetSinks())
	addAll(out, "environment", p.GetEnvironments())
	addAll(out, "workload", p.GetWorkloads())
	addAll(out, "list", p.GetLists())
	for _, t := range p.GetTransitions() {
		out[object{kind: "transition", name: t.GetFrom() + " ─► " + t.GetTo()}] = t
	}
	for _, in := range p.GetIntents() {
		out[object{kind: "intent", name: in.GetName()}] = in
	}
	for _, e := range p.GetExceptions() {
		out[object{"exception", e.GetAccept() + " of " + e.GetLayer() + " in " + e.GetEnvironment(), content(e)}] = e
	}
	for _, t := range p.GetTests() {
		out[object{"test", strings.TrimSpace(t.GetFrom() + " ─► " + t.GetTo() + " " + t.GetService()), content(t)}] = t
	}
	return out
}

func addAll[M proto.Message](out map[object]proto.Message, kind string, named map[string]M) {
	for name, m := range named {
		out[object{kind: kind, name: name}] = m
	}
}

func content(m proto.Message) string {
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m) // of text that was UTF-8 when it was read
	return string(b)
}

func union(a, b map[object]proto.Message) map[object]proto.Message {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
