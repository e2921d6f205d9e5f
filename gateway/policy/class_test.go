package policy

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestLabelledIsAsRegistered: a call that is labelled is decided as if its caller were
// registered as that class, in whatever else the call is.
func TestLabelledIsAsRegistered(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, q := genPolicy(t, rt), genQuestion(rt)
		caller := pick(rt, "workload", "one", "many")
		q.from = map[string]string{"one": one, "many": agent}[caller]
		class := pick(rt, "class", p.GetDataClasses()...)
		registered := proto.CloneOf(p)
		registered.Workloads[caller].Data = &policyv1.DataRule{Class: class}
		delete(q.attrs, "data.class")
		b := q.ask(t, registered)
		q.attrs["data.class"] = class
		a := q.ask(t, p)
		if a.Allow != b.Allow || a.Reason != b.Reason || a.Intent != b.Intent || a.Limited != b.Limited || a.Proof != b.Proof || a.Idempotent != b.Idempotent {
			rt.Fatalf("%+v labelled %s, %+v registered as it", a, class, b)
		}
	})
}

// TestAnswersLeaveToo: what may not leave an environment may not do so in the answers
// to calls that come in, whatever the request is labelled.
func TestAnswersLeaveToo(t *testing.T) {
	const deny = `[{"name":"j","allow":{}},{"name":"stays","deny":{"data":"restricted","leaving":"environment:b"}}]`
	const unbound = `[{"name":"j","allow":{}},{"name":"stays","deny":{"data":"restricted"}}]`
	for _, c := range []struct {
		name, intents, class string
		with                 with
		denied               bool
	}{
		{"restricted", deny, "restricted", nil, true},
		{"of no class", deny, "", nil, true},
		{"internal", deny, "internal", nil, false},
		{"public", deny, "public", nil, false},
		{"restricted, asked for with what is public", deny, "restricted", with{"data.class": "public"}, true},
		{"of no class, asked for with what is public", deny, "", with{"data.class": "public"}, true},
		{"internal, asked for with what is restricted", deny, "internal", with{"data.class": "restricted"}, false},
		{"restricted, from anywhere", unbound, "restricted", nil, true},
		{"internal, from anywhere", unbound, "internal", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := small(t, c.intents)
			if p.Workloads["vault"].Data = nil; c.class != "" {
				p.Workloads["vault"].Data = &policyv1.DataRule{Class: c.class}
			}
			d := question{one, "vault", "get", c.with}.ask(t, p)
			want := Decision{Allow: !c.denied, Intent: "j"}
			if c.denied {
				want.Reason, want.Intent = crossingv1.Reason_DENIED_BY_INTENT, "stays"
			}
			if d.Allow != want.Allow || d.Reason != want.Reason || d.Intent != want.Intent {
				t.Errorf("%+v, want %+v", d, want)
			}
		})
	}
}
