package api

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/inventory"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/xds"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Who calls in these tests.
const (
	operatorPath = "/operators/alice"
	gatewayPath1 = "/sallyport/gateway/onprem-1"
	workloadPath = "/ai/orchestrator"
)

// fakeRecords stands for the joiner. Its fields may be set before the server runs.
type fakeRecords struct {
	mu       sync.Mutex
	frames   []*crossingv1.Frame
	conflict func(*crossingv1.Frame) error
	records  []*crossingv1.Record
	refusals []*controlv1.GatewayRefusal
	counts   map[join.Transition]join.Counts
	asked    *controlv1.ListCrossingsRequest
	since    time.Time
	applied  []join.Applied
	halves   []join.Halves // those that are unmatched
	outages  map[string]*crossingv1.Outage
}

func (r *fakeRecords) Add(f *crossingv1.Frame) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conflict != nil {
		if err := r.conflict(f); err != nil {
			return err
		}
	}
	r.frames = append(r.frames, f)
	return nil
}

func (r *fakeRecords) List(ctx context.Context, req *controlv1.ListCrossingsRequest, each func(records.Joined) error) error {
	r.mu.Lock()
	r.asked = req
	r.mu.Unlock()
	for _, rec := range r.records {
		if err := each(records.Joined{Record: rec}); err != nil {
			return err
		}
	}
	if req.GetFollow() {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (r *fakeRecords) Refusals(since time.Time) []*controlv1.GatewayRefusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = since
	return r.refusals
}

func (r *fakeRecords) Applied() []join.Applied {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied
}

func (r *fakeRecords) Unmatched() []join.Halves { return r.halves }

func (r *fakeRecords) At(k *crossingv1.Key) (join.Halves, bool) {
	for _, h := range r.halves {
		if proto.Equal(h.Key(), k) {
			return h, true
		}
	}
	return join.Halves{}, false
}

func (r *fakeRecords) Of(rec *crossingv1.Record) (join.Halves, bool) {
	for _, h := range r.halves {
		if h.Record == rec {
			return h, true
		}
	}
	return join.Halves{}, false
}

func (r *fakeRecords) Outage(gateway string) *crossingv1.Outage { return r.outages[gateway] }

func (r *fakeRecords) Counts() map[join.Transition]join.Counts { return r.counts }

func (r *fakeRecords) added() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.frames)
}

// mesh is a control API over real TLS, with everything real but the joiner.
type mesh struct {
	t       *testing.T
	domains map[string]*certstest.Domain
	store   *store.Store
	records *fakeRecords
	bundles *fakeBundles
	signer  signed.Signer
	keys    *policyv1.KeySet
	server  *Server
	grpc    *grpc.Server
	addr    string
	stop    func()
}

// newMesh starts one. change may be nil.
func newMesh(t *testing.T, change func(*Config)) *mesh {
	t.Helper()
	m := &mesh{
		t: t, domains: certstest.Mesh(t, "mesh.demo", "onprem.demo", "azure.demo", "stranger.demo"),
		records: &fakeRecords{}, bundles: newFakeBundles(),
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.signer = signed.NewSigner("alice", private)
	m.keys = &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{"alice": public}}
	if m.store, err = store.Open(t.Context(), store.Config{Dir: t.TempDir(), Log: zaptest.NewLogger(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.store.Close(); err != nil {
			t.Error(err)
		}
	})
	m.serve(change)
	return m
}

// config is the API's configuration over the mesh's parts.
func (m *mesh) config(change func(*Config)) (Config, *xds.Server) {
	m.t.Helper()
	operators := []spiffeid.ID{m.domains["mesh.demo"].ID(operatorPath)}
	where, err := inventory.New(m.t.Context(), inventory.Config{
		Store: m.store.Bindings(), Operator: func(id spiffeid.ID) bool { return id == operators[0] },
	})
	if err != nil {
		m.t.Fatal(err)
	}
	distributor := xds.New(xds.Config{Peer: Peer})
	c := Config{
		Store: m.store, Memory: m.store.Gateways(), Acts: m.store.Acts(), Gateways: distributor, Inventory: where, Records: m.records,
		Bundles: m.bundles, Statements: statements.NewBook(),
		Trust: func(chain []*x509.Certificate, at time.Time) error {
			_, err := certs.VerifyAt(m.domains["mesh.demo"].Source("/sallyport/controlplane/cp-1"), chain, at, certs.AuthorizeAny())
			return err
		},
		Keys: m.keys, Operators: operators,
		Bootstrap: func() (Bootstrap, error) {
			return Bootstrap{Address: "cp:1", ID: "spiffe://mesh.demo/sallyport/controlplane/cp-1", Bundle: "{}"}, nil
		},
		Log: zaptest.NewLogger(m.t),
	}
	if change != nil {
		change(&c)
	}
	return c, distributor
}

// serve starts a server over the mesh's store, as a restart does.
func (m *mesh) serve(change func(*Config)) {
	m.t.Helper()
	c, distributor := m.config(change)
	var err error
	if m.server, err = New(m.t.Context(), c); err != nil {
		m.t.Fatal(err)
	}
	tls := certs.ServerTLS(m.domains["mesh.demo"].Source("/sallyport/controlplane/cp-1"), certs.AuthorizeAny(), "h2")
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(tls)), grpc.UnaryInterceptor(m.server.Unary),
		grpc.StreamInterceptor(m.server.Stream), grpc.MaxRecvMsgSize(16<<20))
	m.grpc = g
	m.server.Register(g)
	distributor.Register(g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	m.addr = l.Addr().String()
	server := m.server
	m.stop = sync.OnceFunc(func() {
		server.Close()
		g.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // stopped before it served
			m.t.Errorf("Serve() = %v", err)
		}
		server.Wait()
	})
	m.t.Cleanup(m.stop)
}

// as is a connection of a caller.
func (m *mesh) as(domain, path string) *grpc.ClientConn {
	m.t.Helper()
	d := m.domains[domain]
	tls := certs.ClientTLS(d.Source(path), certs.AuthorizeAny(), "h2")
	conn, err := grpc.NewClient("passthrough:///"+m.addr, grpc.WithTransportCredentials(credentials.NewTLS(tls)))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
	return conn
}

func (m *mesh) operator() *grpc.ClientConn { return m.as("mesh.demo", operatorPath) }
func (m *mesh) gateway() *grpc.ClientConn  { return m.as("onprem.demo", gatewayPath1) }

// testPolicy is a policy with one transition, from onprem to azure.
func testPolicy() *policyv1.Policy {
	return &policyv1.Policy{
		Version: 1, Policy: "demo", DataClasses: []string{"public", "internal"},
		Teams: map[string]*policyv1.Team{"ml-platform": {Contact: "ml@demo"}},
		Sinks: map[string]*policyv1.Sink{"records": {Store: "view"}},
		Environments: map[string]*policyv1.Environment{
			"onprem": {
				TrustDomain: "onprem.demo", Owner: "ml-platform", Networks: []string{"127.1.0.0/16"},
				Gateways: map[string]*policyv1.Gateway{"onprem-1": {Tunnel: "127.1.0.1:8441"}},
			},
			"azure": {
				TrustDomain: "azure.demo", Owner: "ml-platform", Networks: []string{"127.3.0.0/16"},
				Gateways: map[string]*policyv1.Gateway{"azure-1": {Tunnel: "127.3.0.1:8441"}},
			},
		},
		Workloads: map[string]*policyv1.Workload{
			"orchestrator": {Id: "spiffe://onprem.demo" + workloadPath, Owner: "ml-platform"},
			"llm": {
				Id: "spiffe://azure.demo/ai/llm", Owner: "ml-platform", Addresses: []string{"127.3.0.10"},
				Serves: map[string]string{"chat": "openai://:8000"},
			},
		},
		Transitions: []*policyv1.Transition{{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "records", ReviewBy: "2999-01-01"}},
		Intents:     []*policyv1.Intent{{Name: "plan", Allow: &policyv1.Match{From: "orchestrator", To: "llm", Service: "chat"}}},
	}
}

// sign makes a policy ready to be published.
func (m *mesh) sign(p *policyv1.Policy, serial uint64, previous string, signers ...signed.Signer) *policyv1.SignedPolicy {
	m.t.Helper()
	if len(signers) == 0 {
		signers = []signed.Signer{m.signer}
	}
	sp, err := signed.Sign(p, serial, previous, false, signers...)
	if err != nil {
		m.t.Fatal(err)
	}
	return sp
}

func (m *mesh) publish(sp *policyv1.SignedPolicy) (*controlv1.PublishResponse, error) {
	m.t.Helper()
	return controlv1.NewPolicyServiceClient(m.operator()).Publish(m.t.Context(), &controlv1.PublishRequest{Signed: sp})
}

// published starts from a mesh with testPolicy in force.
func published(t *testing.T, change func(*Config)) *mesh {
	t.Helper()
	m := newMesh(t, change)
	if _, err := m.publish(m.sign(testPolicy(), 1, "")); err != nil {
		t.Fatal(err)
	}
	return m
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s = %v (%v), want %v", what, got, err, want)
	}
}

// all are the answers of a stream, to its end.
func all[T any](t *testing.T, stream grpc.ServerStreamingClient[T]) (answers []*T) {
	t.Helper()
	for {
		one, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answers
		}
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, one)
	}
}
