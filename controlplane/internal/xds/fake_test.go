package xds

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap/zaptest"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var environments = []string{"aws", "azure", "onprem"}

// testPolicy is a policy with a gateway in each environment. note makes its
// content, and so its revision, its own.
func testPolicy(note string, envs ...string) *policyv1.Policy {
	p := &policyv1.Policy{
		Version: 1, Policy: "test",
		Teams:        map[string]*policyv1.Team{"ops": {Contact: "https://oncall.test/" + note}},
		Sinks:        map[string]*policyv1.Sink{"records": {Store: "view"}},
		Environments: map[string]*policyv1.Environment{},
	}
	for n, env := range envs {
		p.Environments[env] = &policyv1.Environment{
			TrustDomain: env + ".test", Owner: "ops", Networks: []string{fmt.Sprintf("10.%d.0.0/16", n)},
			Gateways: map[string]*policyv1.Gateway{env + "-1": {Tunnel: "127.0.0.1:8443"}},
		}
	}
	return p
}

func signedPolicy(t testing.TB, p *policyv1.Policy, serial uint64, urgent bool) (*policyv1.SignedPolicy, *policyv1.Manifest) {
	t.Helper()
	seed := sha256.Sum256([]byte("operator"))
	sp, err := signed.Sign(p, serial, "", urgent, signed.NewSigner("operator", ed25519.NewKeyFromSeed(seed[:])))
	if err != nil {
		t.Fatalf("sign policy: %v", err)
	}
	m := &policyv1.Manifest{}
	if err := protojson.Unmarshal(sp.GetManifest(), m); err != nil {
		t.Fatalf("read manifest: %v", err)
	}
	return sp, m
}

// mesh is a server on a network in memory, and the trust domains around it.
type mesh struct {
	t       *testing.T
	domains map[string]*certstest.Domain
	server  *Server
	grpc    *grpc.Server
	net     *bufconn.Listener
	served  chan struct{}
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{t: t, domains: certstest.Mesh(t, "mesh.test", "aws.test", "azure.test", "onprem.test")}
	m.start()
	t.Cleanup(m.stop)
	return m
}

// start starts a server that knows nothing.
func (m *mesh) start() {
	source := m.domains["mesh.test"].Source("/sallyport/controlplane/cp-1")
	m.server = New(Config{Peer: peerID, Log: zaptest.NewLogger(m.t)})
	m.grpc = grpc.NewServer(grpc.WaitForHandlers(true), grpc.Creds(credentials.NewTLS(certs.ServerTLS(source, certs.AuthorizeAny(), "h2"))))
	m.server.Register(m.grpc)
	m.net = bufconn.Listen(1 << 20)
	m.served = make(chan struct{})
	go func(g *grpc.Server, l net.Listener, served chan struct{}) {
		defer close(served)
		g.Serve(l)
	}(m.grpc, m.net, m.served)
}

func (m *mesh) stop() {
	m.server.Close()
	m.grpc.Stop()
	<-m.served
}

func peerID(ctx context.Context) (spiffeid.ID, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return spiffeid.ID{}, errors.New("no peer")
	}
	return certs.PeerID(p.AuthInfo.(credentials.TLSInfo).State)
}

func (m *mesh) publish(p *policyv1.Policy, serial uint64) Result {
	m.t.Helper()
	sp, manifest := signedPolicy(m.t, p, serial, false)
	result, err := m.server.Publish(m.t.Context(), sp, manifest)
	if err != nil {
		m.t.Fatalf("Publish(serial %d) error: %v", serial, err)
	}
	return result
}

// fakeGateway is a gateway whose every answer the test gives, or that accepts
// everything.
type fakeGateway struct {
	t      *testing.T
	id     spiffeid.ID
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	end    func() // disconnects
	held   map[string]map[string]string

	waiting []*discovery.DeltaDiscoveryResponse // received, not looked at
	run     string
}

// connect opens a stream as an ID of a trust domain, without a request.
func (m *mesh) connect(td, path string) *fakeGateway {
	m.t.Helper()
	source := m.domains[td].Source(path)
	server := m.domains["mesh.test"].ID("/sallyport/controlplane/cp-1")
	conn, err := grpc.NewClient("passthrough:///bufnet",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return m.net.DialContext(ctx) }),
		grpc.WithTransportCredentials(credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(server), "h2"))))
	if err != nil {
		m.t.Fatalf("connect: %v", err)
	}
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(context.Background())
	if err != nil {
		m.t.Fatalf("open stream: %v", err)
	}
	g := &fakeGateway{
		t: m.t, id: source.ID(), stream: stream, end: func() { conn.Close() },
		held: map[string]map[string]string{TypePolicy: {}, TypeState: {}, TypeActs: {}, TypeEndpoints: {}},
	}
	m.t.Cleanup(g.end)
	return g
}

// gateway opens the stream of an environment's gateway, which the server has
// admitted then, and subscribes to all.
func (m *mesh) gateway(env string) *fakeGateway { return m.process(env, "") }

// process is gateway for one of several runs.
func (m *mesh) process(env, run string) *fakeGateway {
	m.t.Helper()
	path := "/sallyport/gateway/" + env + "-1"
	before := m.session(m.domains[env+".test"].ID(path))
	g := m.connect(env+".test", path)
	m.await(func() bool { s := m.session(g.id); return s != nil && s != before })
	g.run = run
	g.subscribe()
	return g
}

func (m *mesh) session(id spiffeid.ID) *session {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	return m.server.sessions[id]
}

func (g *fakeGateway) subscribe() {
	g.t.Helper()
	for typ, name := range map[string]string{TypePolicy: "*", TypeState: "policy", TypeActs: "acts", TypeEndpoints: "*"} {
		g.send(&discovery.DeltaDiscoveryRequest{
			Node: &core.Node{Id: g.id.String(), Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
				runField: structpb.NewStringValue(g.run),
			}}}, TypeUrl: typ,
			ResourceNamesSubscribe: []string{name}, InitialResourceVersions: g.held[typ],
		})
	}
}

func (g *fakeGateway) send(req *discovery.DeltaDiscoveryRequest) {
	g.t.Helper()
	if err := g.stream.Send(req); err != nil {
		g.t.Fatalf("%s: send: %v", g.id, err)
	}
}

// next is the next response of a type with something in it. Those of other
// types wait for their turn, without an answer.
func (g *fakeGateway) next(typ string) *discovery.DeltaDiscoveryResponse {
	g.t.Helper()
	for n, resp := range g.waiting {
		if resp.GetTypeUrl() == typ {
			g.waiting = slices.Delete(g.waiting, n, n+1)
			return resp
		}
	}
	for {
		resp, err := g.stream.Recv()
		switch {
		case err != nil:
			g.t.Fatalf("%s: receive: %v", g.id, err)
		case len(resp.GetResources())+len(resp.GetRemovedResources()) == 0:
			g.ack(resp)
		case resp.GetTypeUrl() == typ:
			return resp
		default:
			g.waiting = append(g.waiting, resp)
		}
	}
}

func (g *fakeGateway) ack(resp *discovery.DeltaDiscoveryResponse) {
	g.t.Helper()
	for _, r := range resp.GetResources() {
		g.held[resp.GetTypeUrl()][r.GetName()] = r.GetVersion()
	}
	for _, name := range resp.GetRemovedResources() {
		delete(g.held[resp.GetTypeUrl()], name)
	}
	g.send(&discovery.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()})
}

func (g *fakeGateway) nack(resp *discovery.DeltaDiscoveryResponse, why string) {
	g.t.Helper()
	g.send(&discovery.DeltaDiscoveryRequest{
		TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce(),
		ErrorDetail: &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: why},
	})
}

// acceptAll accepts everything until the stream ends, and then sends how many
// responses there were.
func (g *fakeGateway) acceptAll() <-chan int {
	done := make(chan int, 1)
	go func() {
		n := 0
		for {
			resp, err := g.stream.Recv()
			if err != nil {
				done <- n
				return
			}
			n++
			req := &discovery.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
			if g.stream.Send(req) != nil {
				done <- n
				return
			}
		}
	}()
	return done
}

// refused is the status that the server ends the stream with.
func (g *fakeGateway) refused() codes.Code {
	for {
		if _, err := g.stream.Recv(); err != nil {
			return grpcCode(err)
		}
	}
}

func names(resp *discovery.DeltaDiscoveryResponse) []string {
	var all []string
	for _, r := range resp.GetResources() {
		all = append(all, r.GetName())
	}
	return all
}

func stateOf(t *testing.T, resp *discovery.DeltaDiscoveryResponse) *configv1.PolicyState {
	t.Helper()
	state := &configv1.PolicyState{}
	for _, r := range resp.GetResources() {
		if err := r.GetResource().UnmarshalTo(state); err != nil {
			t.Fatalf("read state: %v", err)
		}
	}
	return state
}
