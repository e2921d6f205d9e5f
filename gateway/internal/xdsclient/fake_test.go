package xdsclient

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func keySet(names ...string) *policyv1.KeySet {
	set := &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{}}
	for _, name := range names {
		set.Keys[name] = key(name).Public().(ed25519.PublicKey)
	}
	return set
}

// policyOf is a policy whose content, and so its revision, is the note's own.
func policyOf(name, note string) *policyv1.Policy {
	p := &policyv1.Policy{
		Version: 1, Policy: name,
		Teams:        map[string]*policyv1.Team{"ops": {Contact: "https://oncall.test/" + note}},
		Sinks:        map[string]*policyv1.Sink{"records": {Store: "view"}},
		Environments: map[string]*policyv1.Environment{},
	}
	for n, env := range []string{"aws", "azure"} {
		p.Environments[env] = &policyv1.Environment{
			TrustDomain: env + ".test", Owner: "ops", Networks: []string{fmt.Sprintf("10.%d.0.0/16", n)},
			Gateways: map[string]*policyv1.Gateway{env + "-1": {Tunnel: "127.0.0.1:8443"}},
		}
	}
	return p
}

func signedPolicy(t testing.TB, note string, serial uint64) *policyv1.SignedPolicy {
	t.Helper()
	return signedBy(t, "operator", policyOf("test", note), serial)
}

func signedBy(t testing.TB, signer string, p *policyv1.Policy, serial uint64) *policyv1.SignedPolicy {
	t.Helper()
	sp, err := signed.Sign(p, serial, "", false, signed.NewSigner(signer, key(signer)))
	if err != nil {
		t.Fatalf("sign policy: %v", err)
	}
	return sp
}

func revision(sp *policyv1.SignedPolicy) string { return signed.Revision(sp.GetPolicy()) }

// resource packs m; its version is a digest of its content.
func resource(name string, m proto.Message) *discovery.Resource {
	packed, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return &discovery.Resource{Name: name, Version: fmt.Sprintf("%x", sha256.Sum256(packed.GetValue())), Resource: packed}
}

func policies(all ...*policyv1.SignedPolicy) *discovery.DeltaDiscoveryResponse {
	resp := &discovery.DeltaDiscoveryResponse{TypeUrl: typePolicy}
	for _, sp := range all {
		resp.Resources = append(resp.Resources, resource(revision(sp), sp))
	}
	return resp
}

func state(current string) *discovery.DeltaDiscoveryResponse {
	return &discovery.DeltaDiscoveryResponse{
		TypeUrl: typeState, Resources: []*discovery.Resource{resource(stateName, &configv1.PolicyState{Current: current})},
	}
}

func assignment(name string, at ...string) *discovery.Resource {
	a := &endpoint.ClusterLoadAssignment{ClusterName: name}
	one := &endpoint.LocalityLbEndpoints{}
	for _, host := range at {
		one.LbEndpoints = append(one.LbEndpoints, lbEndpoint(host, 8000))
	}
	a.Endpoints = append(a.Endpoints, one)
	return resource(name, a)
}

func lbEndpoint(host string, port uint32) *endpoint.LbEndpoint {
	return &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
		Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: host, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
		}}},
	}}}
}

func endpoints(all ...*discovery.Resource) *discovery.DeltaDiscoveryResponse {
	return &discovery.DeltaDiscoveryResponse{TypeUrl: typeEndpoints, Resources: all}
}

// controlPlane is one whose every response the test sends.
type controlPlane struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	t       *testing.T
	domains map[string]*certstest.Domain
	keys    *policyv1.KeySet
	net     *bufconn.Listener
	streams chan *serverStream
	nonce   int
	bundles Bundles // that clients take; nil for none
	applied func(*crossingv1.Applied) error
}

// serverStream is a client's stream at the control plane.
type serverStream struct {
	t        *testing.T
	cp       *controlPlane
	stream   discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	requests chan *discovery.DeltaDiscoveryRequest
	first    map[string]*discovery.DeltaDiscoveryRequest // by type URL
	end      chan struct{}
}

func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	cp := &controlPlane{
		t: t, domains: certstest.Mesh(t, "mesh.test", "aws.test"), keys: keySet("operator"),
		net: bufconn.Listen(1 << 20), streams: make(chan *serverStream),
	}
	source := cp.domains["mesh.test"].Source("/sallyport/controlplane/cp-1")
	server := grpc.NewServer(grpc.WaitForHandlers(true), grpc.Creds(credentials.NewTLS(certs.ServerTLS(source, certs.AuthorizeAny(), "h2"))))
	discovery.RegisterAggregatedDiscoveryServiceServer(server, cp)
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(cp.net) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return cp
}

// DeltaAggregatedResources hands the stream to the test.
func (cp *controlPlane) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s := &serverStream{
		t: cp.t, cp: cp, stream: stream, requests: make(chan *discovery.DeltaDiscoveryRequest, 100),
		first: map[string]*discovery.DeltaDiscoveryRequest{}, end: make(chan struct{}),
	}
	asks := 4
	if cp.bundles != nil {
		asks++
	}
	for range asks {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		s.first[req.GetTypeUrl()] = req
	}
	go func() {
		defer close(s.requests)
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			s.requests <- req
		}
	}()
	select {
	case cp.streams <- s:
	case <-stream.Context().Done():
		return nil
	}
	select {
	case <-s.end:
	case <-stream.Context().Done():
	}
	return nil
}

// client makes a client with a state directory, and runs it until the test ends
// or stop is called.
func (cp *controlPlane) client(dir string) (c *Client, stop func()) {
	cp.t.Helper()
	source := cp.domains["aws.test"].Source("/sallyport/gateway/aws-1")
	id := cp.domains["mesh.test"].ID("/sallyport/controlplane/cp-1")
	conn, err := grpc.NewClient("passthrough:///bufnet", append(DialOptions(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return cp.net.DialContext(ctx) }),
		grpc.WithTransportCredentials(credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(id), "h2"))))...)
	if err != nil {
		cp.t.Fatalf("connect: %v", err)
	}
	c, err = New(Config{Conn: conn, Node: source.ID(), StateDir: dir, Keys: cp.keys, Bundles: cp.bundles, Applied: cp.applied, Log: zaptest.NewLogger(cp.t)})
	if err != nil {
		cp.t.Fatalf("New error: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			cp.t.Errorf("Run error: %v", err)
		}
		conn.Close()
	}
	cp.t.Cleanup(stop)
	return c, stop
}

// send sends a response and returns its nonce.
func (s *serverStream) send(resp *discovery.DeltaDiscoveryResponse) string {
	s.t.Helper()
	s.cp.nonce++
	resp.Nonce = fmt.Sprint(s.cp.nonce)
	if err := s.stream.Send(resp); err != nil {
		s.t.Fatalf("send: %v", err)
	}
	return resp.GetNonce()
}

// answer is the client's next request, which must be about a nonce.
func (s *serverStream) answer(nonce string) error {
	s.t.Helper()
	req, ok := <-s.requests
	if !ok {
		s.t.Fatal("the client ended the stream")
	}
	if req.GetResponseNonce() != nonce {
		s.t.Fatalf("answer to nonce %q (%s), want %q", req.GetResponseNonce(), req.GetTypeUrl(), nonce)
	}
	if req.GetErrorDetail() == nil {
		return nil
	}
	return errors.New(req.GetErrorDetail().GetMessage())
}

// accepted sends a response that must be ACKed.
func (s *serverStream) accepted(resp *discovery.DeltaDiscoveryResponse) {
	s.t.Helper()
	if err := s.answer(s.send(resp)); err != nil {
		s.t.Fatalf("NACK of %s: %v", resp.GetTypeUrl(), err)
	}
}

// silent says that the client has sent nothing more.
func (s *serverStream) silent() bool { return len(s.requests) == 0 }

func ref(p *policy.Policy) policy.Ref {
	if p == nil {
		return policy.Ref{}
	}
	return p.Ref()
}

func refOf(sp *policyv1.SignedPolicy) policy.Ref {
	m := &policyv1.Manifest{}
	if err := protojson.Unmarshal(sp.GetManifest(), m); err != nil {
		panic(err)
	}
	return policy.Ref{Serial: m.GetSerial(), Revision: m.GetRevision()}
}
