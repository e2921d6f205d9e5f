package netns

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestMain(m *testing.M) { Main(m) }

// call is one that is made in a test.
type call struct{ from, to, method, path string }

// url is where the call goes.
func (c call) url(t *testing.T) string {
	t.Helper()
	for _, w := range Workloads {
		if w.Name == c.to {
			return w.URL + c.path
		}
	}
	t.Fatalf("there is no workload %q", c.to)
	return ""
}

// make makes the call.
func (c call) make(t *testing.T, m *Mesh) *Answer {
	t.Helper()
	a, err := Call(t.Context(), m.As(t, c.from), c.method, c.url(t), strings.NewReader("from "+c.from))
	if err != nil {
		t.Fatalf("%s calls %s: %v", c.from, c.to, err)
	}
	return a
}

// TestHosts runs the deployment as its README says. Every call that the policy
// allows crosses and has its joined record; every other is denied and has one
// too.
func TestHosts(t *testing.T) {
	t.Parallel()
	m := Deploy(t, Options{})
	for _, c := range []call{
		{"orchestrator", "llm", http.MethodPost, "/v1/chat/completions"},
		{"orchestrator", "retriever", http.MethodPost, "/search"},
		{"llm", "retriever", http.MethodGet, "/search"},
		{"llm", "orchestrator", http.MethodPost, "/tasks/7"},
	} {
		t.Run(c.from+" calls "+c.to, func(t *testing.T) { crosses(t, m, c) })
	}
	for _, c := range []call{
		{"retriever", "orchestrator", http.MethodPost, "/tasks/7"}, // no transition
		{"orchestrator", "llm", http.MethodDelete, "/v1/models"},   // no intent
	} {
		t.Run(c.from+" is denied "+c.to, func(t *testing.T) { denied(t, m, c) })
	}
	for _, w := range Workloads {
		m.At(w.Environment).Run(t, "curl -fsS http://127.0.0.1:8446/readyz")
	}
	if out, err := m.Sallyport(t, "transitions"); err != nil || !strings.Contains(string(out), "ml-platform") {
		t.Errorf("transitions: %v\n%s", err, out)
	}
}

// crosses holds that a call is answered and recorded by both gateways alike.
func crosses(t *testing.T, m *Mesh, c call) *crossingv1.Record {
	t.Helper()
	a := c.make(t, m)
	if a.Status != http.StatusOK || !strings.Contains(a.Caller, "/ai/"+c.from) {
		t.Fatalf("answered %d, the callee saw %q: %s", a.Status, a.Caller, a.Body)
	}
	r := m.Record(t, a.Crossing)
	if r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() || r.GetTransition().GetOwner() == "" {
		t.Errorf("its record is %s, agrees %t: %v", r.GetState(), r.GetAgree(), r)
	}
	if r.GetTunnel().GetCarrier() == "" || !strings.HasSuffix(r.GetSource(), "/"+c.from) || !strings.HasSuffix(r.GetDestination(), "/"+c.to) {
		t.Errorf("its record names %s, %s over %q", r.GetSource(), r.GetDestination(), r.GetTunnel().GetCarrier())
	}
	return r
}

// denied holds that a call is refused by the near gateway, which recorded it.
func denied(t *testing.T, m *Mesh, c call) {
	t.Helper()
	a := c.make(t, m)
	if a.Status != http.StatusForbidden || a.Caller != "" {
		t.Fatalf("answered %d, the callee saw %q: %s", a.Status, a.Caller, a.Body)
	}
	if r := m.Record(t, a.Crossing); r.GetState() != crossingv1.Record_DENIED || r.GetIngress() != nil {
		t.Errorf("its record is %s: %v", r.GetState(), r)
	}
}

// TestDialOut has an environment behind a router that masquerades and lets
// nothing in. It calls others and is called, over the tunnels that it dialled.
func TestDialOut(t *testing.T) {
	t.Parallel()
	m := Deploy(t, Options{
		DialOut: []string{"onprem"},
		Connect: func(n *Network, h *Host, addr netip.Prefix) {
			if h.Name != "onprem" {
				h.Connect(n.Router(), addr)
				return
			}
			nat := n.Host("nat")
			nat.Connect(n.Router(), netip.MustParsePrefix("10.9.0.2/24")).Masquerade()
			h.Connect(nat, addr)
		},
	})
	for _, c := range []call{
		{"orchestrator", "llm", http.MethodPost, "/v1/chat/completions"},
		{"orchestrator", "retriever", http.MethodPost, "/search"},
		{"llm", "orchestrator", http.MethodPost, "/tasks/7"},
	} {
		t.Run(c.from+" calls "+c.to, func(t *testing.T) { crosses(t, m, c) })
	}
	gateways, err := m.Gateways(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gateways {
		for _, tunnel := range g.GetReport().GetTunnels() {
			if dials := g.GetName() == "onprem-1"; dials && !tunnel.GetDialed() ||
				strings.HasSuffix(tunnel.GetPeer(), "/onprem-1") && tunnel.GetDialed() {
				t.Errorf("%s: a tunnel to %s, dialled here: %t", g.GetName(), tunnel.GetPeer(), tunnel.GetDialed())
			}
		}
	}
}
