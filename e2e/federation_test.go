package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// removalBound is how long what depends on a root may outlive it.
const removalBound = 5 * time.Second

// trustDomains are those of the mesh, the control plane's among them.
func trustDomains() []string { return append(localmesh.Environments(), "mesh") }

// held is what somebody else than its own holds of an environment's bundle, by
// name: gateways as they report it, and the control plane.
func held(t *testing.T, m *meshtest.Mesh, env string) map[string]*controlv1.BundleStatus {
	t.Helper()
	all := map[string]*controlv1.BundleStatus{}
	pick := func(who string, bundles []*controlv1.BundleStatus) {
		for _, b := range bundles {
			if b.GetTrustDomain() == env+".demo" {
				all[who] = b
			}
		}
	}
	gateways, err := controlv1.NewGatewayServiceClient(m.API()).ListGateways(m.Context, &controlv1.ListGatewaysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gateways.GetGateways() {
		pick(g.GetName(), g.GetReport().GetBundles())
	}
	if env == "mesh" {
		return all
	}
	plane, err := controlv1.NewBundleServiceClient(m.API()).ListBundles(m.Context, &controlv1.ListBundlesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	pick("control plane", plane.GetBundles())
	return all
}

// awaitHeld waits until everybody else holds an environment's bundle of now, and
// says how long that took.
func awaitHeld(t *testing.T, m *meshtest.Mesh, env string) time.Duration {
	t.Helper()
	start := time.Now()
	want := 3 // the other gateways, and the control plane; or all gateways
	sequence, _ := m.Authority(env).Bundle().SequenceNumber()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		all := held(t, m, env)
		n := 0
		for _, b := range all {
			if b.GetSequence() == sequence && b.GetRefused() == "" && !b.GetStale() && !b.GetExpiring() {
				n++
			}
		}
		if n == want {
			return time.Since(start)
		}
		if time.Since(start) > meshtest.Patience {
			t.Fatalf("%d of %d hold bundle %d of %s: %v", n, want, sequence, env, all)
		}
		<-ticker.C
	}
}

// each does a step in all trust domains, and waits until everybody knows.
func each(t *testing.T, m *meshtest.Mesh, what string, step func(env string) error) {
	t.Helper()
	for _, env := range trustDomains() {
		if err := step(env); err != nil {
			t.Fatalf("%s in %s: %v", what, env, err)
		}
	}
	for _, env := range trustDomains() {
		t.Logf("%s in %s: known everywhere within %s", what, env, awaitHeld(t, m, env).Round(time.Millisecond))
	}
}

// TestFederationLockOut uses new roots at once, before anybody can have heard of
// them. Everybody is locked out, and let in again by what the control channel
// brings, without a person.
func TestFederationLockOut(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	for _, env := range trustDomains() {
		awaitHeld(t, m, env)
	}
	for _, env := range []string{"azure", "onprem", "mesh"} {
		start := time.Now()
		a := m.Authority(env)
		if err := a.PrepareRoot(); err != nil {
			t.Fatal(err)
		}
		if err := a.ActivateRoot(); err != nil {
			t.Fatal(err)
		}
		awaitHeld(t, m, env)
		if took := time.Since(start); took > removalBound {
			t.Errorf("%s: locked out for %s", env, took)
		}
		meshtest.WantCrossing(t, m) // in a new connection, with the SVIDs of now
		t.Logf("%s: let in again after %s", env, time.Since(start).Round(time.Millisecond))
	}
}

// TestFederationRootRemoved takes away a root on which tunnels, crossings and a
// thief depend. All end within the bound, and crossings go on under the new root.
func TestFederationRootRemoved(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	onprem := m.Authority("onprem")
	awaitHeld(t, m, "onprem")
	l := &load{m: m, ctx: m.Context, messages: 1}
	l.serve(t, nil)
	l.h2 = m.As(t, "orchestrator")
	l.awaitUp(t)
	stream := l.endless(t) // in a tunnel under the old root
	// The thief has the keys of that root, and will not have later ones.
	stolen := meshtest.Stranger([]string{mux.ALPN}, m.Stolen(t, "onprem").Certificate(localmesh.GatewayID("onprem")))
	thief := meshtest.Admitted(t, m, 1)
	for _, step := range []func() error{onprem.PrepareRoot, onprem.ActivateRoot} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		awaitHeld(t, m, "onprem")
	}
	select {
	case <-stream.cut:
		t.Fatalf("a crossing was cut before its root was removed: %v", stream.err)
	default:
	}
	start := time.Now()
	if err := onprem.RetireRoot(); err != nil {
		t.Fatal(err)
	}
	if reason := meshtest.GoAway(t, thief); reason != mux.Identity {
		t.Errorf("GOAWAY to the thief says %q, want %q", reason, mux.Identity)
	}
	within(t, start, "the thief's tunnel ended")
	select {
	case <-stream.cut:
	case <-time.After(time.Until(start.Add(removalBound))):
	}
	within(t, start, "a crossing in a tunnel under the old root ended")
	for {
		if _, err := l.chat(l.ctx, l.h2); err == nil {
			break
		}
		if time.Since(start) > removalBound {
			break
		}
	}
	within(t, start, "a crossing went under the new root")
	awaitHeld(t, m, "onprem")
	if conn := meshtest.Invade(t, m, 2, stolen); conn.Handshake() == nil {
		if _, err := io.ReadAll(conn); err == nil {
			t.Log("the thief was sent away after the handshake")
		}
	}
	meshtest.WantCounted(t, m, 2, crossingv1.Reason_BAD_IDENTITY, localmesh.GatewayID("onprem").String())
	meshtest.WantCrossing(t, m)
}

// TestFederationControlChannel takes roots away on which connections of the control
// channel depend: a thief's to the control plane, and a gateway's. Both end within
// the bound, and the gateway comes back under the new root.
func TestFederationControlChannel(t *testing.T) {
	t.Parallel()
	var way *relay // from azure's gateway to the control plane
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Bootstrap = func(b *configv1.Bootstrap) {
			if b.GetGateway() == "azure-1" {
				way = startRelay(t, b.ControlPlane.GetAddress())
				b.ControlPlane.Address = way.Addr().String()
			}
		}
	})
	for _, env := range []string{"onprem", "mesh"} {
		awaitHeld(t, m, env)
	}
	stolen := m.Stolen(t, "onprem").Source("/sallyport/authority/thief")
	conn, err := grpc.NewClient("passthrough:///"+way.to,
		grpc.WithTransportCredentials(credentials.NewTLS(certs.ClientTLS(stolen, certs.AuthorizeID(localmesh.ID("controlplane")), "h2"))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	thief, err := controlv1.NewBundleServiceClient(conn).Watch(m.Context, &controlv1.WatchBundlesRequest{})
	if err == nil {
		_, err = thief.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	start := takeAwayRoot(t, m, "onprem")
	for err == nil {
		_, err = thief.Recv()
	}
	within(t, start, "the thief's stream ended")
	before := way.newest()
	start = takeAwayRoot(t, m, "mesh")
	select {
	case <-before.gone:
	case <-time.After(removalBound):
	}
	within(t, start, "the gateway's connection ended")
	awaitHeld(t, m, "mesh")
	if way.newest() == before {
		t.Error("the gateway has not connected again")
	}
	meshtest.WantCrossing(t, m)
}

// takeAwayRoot gives a trust domain a new root, and takes the old one away as soon
// as everybody holds the new one. It gives the time when it is gone.
func takeAwayRoot(t *testing.T, m *meshtest.Mesh, env string) time.Time {
	t.Helper()
	a := m.Authority(env)
	for _, step := range []func() error{a.PrepareRoot, a.ActivateRoot} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		awaitHeld(t, m, env)
	}
	start := time.Now()
	if err := a.RetireRoot(); err != nil {
		t.Fatal(err)
	}
	return start
}

// relay passes connections on to an address.
type relay struct {
	net.Listener
	to string

	mu   sync.Mutex // guards last
	last *relayed
}

// relayed is a connection; gone is closed when whoever dialled has closed it.
type relayed struct{ gone chan struct{} }

func startRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &relay{Listener: l, to: to}
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			go r.pass(here)
		}
	}()
	return r
}

func (r *relay) pass(here net.Conn) {
	defer here.Close()
	there, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer there.Close()
	c := &relayed{make(chan struct{})}
	r.mu.Lock()
	r.last = c
	r.mu.Unlock()
	go io.Copy(here, there) // it goes on until the other way ends
	io.Copy(there, here)
	close(c.gone)
}

func (r *relay) newest() *relayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

func within(t *testing.T, start time.Time, what string) {
	t.Helper()
	took := time.Since(start)
	t.Logf("%s after %s", what, took.Round(time.Millisecond))
	if took > removalBound {
		t.Errorf("%s after %s, want %s", what, took, removalBound)
	}
}
