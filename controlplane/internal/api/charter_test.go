package api

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// ownedPolicy is testPolicy with three owners that are not to be confused.
func ownedPolicy(change func(*policyv1.Policy)) *policyv1.Policy {
	p := testPolicy()
	p.Teams["datacentre"], p.Teams["cloud"] = &policyv1.Team{Contact: "dc@demo"}, &policyv1.Team{Contact: "cloud@demo"}
	p.Environments["onprem"].Owner, p.Environments["azure"].Owner = "datacentre", "cloud"
	if change != nil {
		change(p)
	}
	return p
}

// inForce publishes a policy as the next one and says how halves name it.
func inForce(m *mesh, p *policyv1.Policy) *crossingv1.PolicyRef {
	m.t.Helper()
	serial, previous := uint64(1), ""
	if _, manifest := m.server.Current(); manifest != nil {
		serial, previous = manifest.GetSerial()+1, manifest.GetRevision()
	}
	if _, err := m.publish(m.sign(p, serial, previous)); err != nil {
		m.t.Fatal(err)
	}
	_, manifest := m.server.Current()
	return &crossingv1.PolicyRef{Serial: manifest.GetSerial(), Revision: manifest.GetRevision()}
}

// carriedHalf is a crossing that onprem-1 let out under a policy.
func carriedHalf(ref *crossingv1.PolicyRef) *crossingv1.Half {
	return &crossingv1.Half{
		Id: crossing.NewID(time.Now()), Side: crossingv1.Side_EGRESS,
		Key:         &crossingv1.Key{Egress: onprem1, Ingress: azure1, Run: testRun, Sequence: 1},
		Transition:  &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "records"},
		Source:      "spiffe://onprem.demo" + workloadPath,
		Destination: "spiffe://azure.demo/ai/llm",
		Trace:       testRun, Span: testRun[:16],
		End: &crossingv1.End{Gateway: onprem1, Decision: crossingv1.Decision_ALLOW, Policy: ref, Open: timestamppb.Now()},
	}
}

// kept makes it one that onprem-1 refused.
func keptRecords(h *crossingv1.Half, reason crossingv1.Reason) {
	h.Key.Ingress, h.End.Reason, h.End.Close = "", reason, crossingv1.Cause_REFUSED
	if !crossing.Outage(reason) {
		h.End.Decision = crossingv1.Decision_DENY
	}
}

// arrived makes it one that onprem-1 let in from azure-1, and denied.
func arrived(h *crossingv1.Half) {
	h.Side, h.Key.Egress, h.Key.Ingress = crossingv1.Side_INGRESS, azure1, onprem1
	h.Transition = &crossingv1.Transition{From: "azure", To: "onprem", Owner: "cloud"}
	h.Source, h.Destination = "spiffe://azure.demo/ai/llm", "spiffe://onprem.demo"+workloadPath
	h.End.Decision, h.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_NO_TRANSITION
}

// deliverHalf says why a half of onprem-1 was rejected, "" if it was not.
func deliverHalf(t *testing.T, m *mesh, h *crossingv1.Half) string {
	t.Helper()
	data, err := crossing.MarshalFrame(&crossingv1.Frame{Gateway: onprem1, Run: testRun, Open: h})
	if err != nil {
		t.Fatal(err)
	}
	ack, err := deliver(m, &controlv1.Batch{Frames: [][]byte{data}, Through: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(ack.GetRejected()) == 0 {
		return ""
	}
	return ack.GetRejected()[0].GetWhy()
}

// TestHalvesAreHeldAgainstThePolicy: a gateway cannot put its crossings on
// another transition, or at another team's door.
func TestHalvesAreHeldAgainstThePolicy(t *testing.T) {
	m := newMesh(t, nil)
	ref := inForce(m, ownedPolicy(nil))
	for _, tt := range []struct {
		name   string
		change func(h *crossingv1.Half)
		want   string // "" if it is accepted
	}{
		{"carried", func(*crossingv1.Half) {}, ""},
		{"denied", func(h *crossingv1.Half) { keptRecords(h, crossingv1.Reason_NO_INTENT) }, ""},
		{"unreachable", func(h *crossingv1.Half) { keptRecords(h, crossingv1.Reason_UNREACHABLE) }, ""},
		{"to nowhere", func(h *crossingv1.Half) {
			keptRecords(h, crossingv1.Reason_UNKNOWN_DESTINATION)
			h.Transition, h.Destination = &crossingv1.Transition{From: "onprem", Owner: "datacentre"}, ""
		}, ""},
		{"to its own environment", func(h *crossingv1.Half) {
			keptRecords(h, crossingv1.Reason_NO_TRANSITION)
			h.Transition = &crossingv1.Transition{From: "onprem", To: "onprem", Owner: "datacentre"}
			h.Destination = "spiffe://onprem.demo" + workloadPath
		}, ""},
		{"without a policy", func(h *crossingv1.Half) {
			keptRecords(h, crossingv1.Reason_NO_POLICY)
			h.Transition, h.Destination, h.End.Policy = &crossingv1.Transition{From: "onprem"}, "", nil
		}, ""},
		{"denied at ingress", arrived, ""},
		{"of a stranger at ingress", func(h *crossingv1.Half) {
			arrived(h)
			h.Transition = &crossingv1.Transition{To: "onprem", Owner: "datacentre"}
			h.End.Reason = crossingv1.Reason_UNKNOWN_PEER
		}, ""},

		{"another owner", func(h *crossingv1.Half) { h.Transition.Owner = "cloud" }, `the owner is "cloud", and by the policy "ml-platform"`},
		{"another sink", func(h *crossingv1.Half) { h.Transition.Sink = "nowhere" }, "the sink"},
		{"another owner of a denial", func(h *crossingv1.Half) {
			keptRecords(h, crossingv1.Reason_MALFORMED)
			h.Transition, h.Destination = &crossingv1.Transition{From: "onprem", Owner: "cloud"}, ""
		}, `the owner is "cloud", and by the policy "datacentre"`},
		{"another pair", func(h *crossingv1.Half) {
			keptRecords(h, crossingv1.Reason_NO_TRANSITION)
			h.Transition = &crossingv1.Transition{From: "azure", To: "onprem", Owner: "cloud"}
		}, "not of environment"},
		{"another source of a denial", func(h *crossingv1.Half) {
			keptRecords(h, crossingv1.Reason_NO_INTENT)
			h.Transition.From = "azure"
		}, "not of environment"},
		{"a destination elsewhere", func(h *crossingv1.Half) {
			keptRecords(h, crossingv1.Reason_NO_INTENT)
			h.Destination = "spiffe://onprem.demo" + workloadPath
		}, "not of environment"},
		{"a way without a destination", func(h *crossingv1.Half) {
			keptRecords(h, crossingv1.Reason_NO_INTENT)
			h.Destination = ""
		}, "azure"},
		{"an ingress gateway elsewhere", func(h *crossingv1.Half) { h.Key.Ingress = onprem1 + "-b" }, "not of environment"},
		{"a transition that is shut", func(h *crossingv1.Half) {
			arrived(h)
			h.End.Reason = crossingv1.Reason_NO_INTENT
		}, "no transition"},
		{"another egress environment", func(h *crossingv1.Half) {
			arrived(h)
			h.Transition.From, h.Transition.Owner = "onprem", "datacentre"
		}, "not of environment"},
		{"another policy", func(h *crossingv1.Half) { h.End.Policy.Revision = "sha256:" + strings.Repeat("7", 64) }, "none that was published"},
		{"another serial", func(h *crossingv1.Half) { h.End.Policy.Serial = 7 }, "none that was published"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := carriedHalf(proto.CloneOf(ref))
			tt.change(h)
			why := deliverHalf(t, m, h)
			if (why == "") != (tt.want == "") || !strings.Contains(why, tt.want) {
				t.Errorf("rejected for %q, want %q", why, tt.want)
			}
		})
	}
}

// TestHalvesOfEarlierPolicies are held against the policy that they name: what
// waited in a spool is none the worse for it, after a restart too.
func TestHalvesOfEarlierPolicies(t *testing.T) {
	m := newMesh(t, nil)
	before := inForce(m, ownedPolicy(nil))
	moved := ownedPolicy(func(p *policyv1.Policy) { p.Transitions[0].Owner = "cloud" })
	after := inForce(m, moved)
	for range 2 {
		if why := deliverHalf(t, m, carriedHalf(before)); why != "" {
			t.Errorf("a half under the policy before: %s", why)
		}
		if why := deliverHalf(t, m, carriedHalf(after)); !strings.Contains(why, "cloud") {
			t.Errorf("the old owner under the new policy: %q", why)
		}
		m.stop()
		m.serve(nil)
	}
	now := inForce(m, ownedPolicy(nil)) // published after the others were read
	if why := deliverHalf(t, m, carriedHalf(now)); why != "" {
		t.Errorf("a half under the newest policy: %s", why)
	}
}

// TestHalvesWaitForTheStore: what cannot be judged is not rejected, but comes
// again.
func TestHalvesWaitForTheStore(t *testing.T) {
	m := newMesh(t, nil)
	ref := inForce(m, ownedPolicy(nil))
	m.server.crossings.charters.store = brokenStore{m.store}
	data, err := crossing.MarshalFrame(&crossingv1.Frame{Gateway: onprem1, Run: testRun, Open: carriedHalf(ref)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = deliver(m, &controlv1.Batch{Frames: [][]byte{data}, Through: 1})
	wantCode(t, "Deliver()", err, codes.Unavailable)
}

// TestRejectionsAreSeen in the gateway's status.
func TestRejectionsAreSeen(t *testing.T) {
	m := newMesh(t, nil)
	ref := inForce(m, ownedPolicy(nil))
	for range 2 {
		h := carriedHalf(ref)
		h.Transition.Owner = "cloud"
		if why := deliverHalf(t, m, h); why == "" {
			t.Fatal("a forged half was accepted")
		}
	}
	resp, err := controlv1.NewGatewayServiceClient(m.operator()).ListGateways(t.Context(), &controlv1.ListGatewaysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range resp.GetGateways() {
		want := uint64(0)
		if g.GetId() == onprem1 {
			want = 2
		}
		if g.GetRejected() != want || (want > 0) != strings.Contains(g.GetRejectedWhy(), "cloud") || (want > 0) != (g.GetRejectedAt() != nil) {
			t.Errorf("%s: %d rejected, last %q at %v, want %d", g.GetName(), g.GetRejected(), g.GetRejectedWhy(), g.GetRejectedAt(), want)
		}
	}
}
