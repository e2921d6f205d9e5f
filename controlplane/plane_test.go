package controlplane

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	onprem1 = "spiffe://onprem.demo/sallyport/gateway/onprem-1"
	azure1  = "spiffe://azure.demo/sallyport/gateway/azure-1"
	testRun = "00112233445566778899aabbccddeeff"
)

// plane is a control plane on this machine that can be started again.
type plane struct {
	t       *testing.T
	domains map[string]*certstest.Domain
	config  Config
	signer  signed.Signer

	cp   *ControlPlane
	stop func()
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	domains := certstest.Mesh(t, "mesh.demo", "onprem.demo", "azure.demo")
	p := &plane{
		t: t, domains: domains, signer: signed.NewSigner("alice", private),
		config: Config{
			Listen:     "127.0.0.1:0",
			Dir:        t.TempDir(),
			Source:     domains["mesh.demo"].Source("/sallyport/controlplane/cp-1"),
			PolicyKeys: &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{"alice": public}},
			Operators:  []spiffeid.ID{domains["mesh.demo"].ID("/operators/alice")},
			Log:        zaptest.NewLogger(t),
		},
	}
	return p.start()
}

// start starts the control plane, again if it was stopped.
func (p *plane) start() *plane {
	p.t.Helper()
	cp, err := New(p.t.Context(), p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	done := make(chan error, 1)
	go func() { done <- cp.Run(ctx) }()
	stopped := false
	p.cp, p.stop = cp, func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("Run() = %v", err)
		}
	}
	p.t.Cleanup(p.stop)
	return p
}

func (p *plane) as(domain, path string) *grpc.ClientConn {
	p.t.Helper()
	return p.dial(p.domains[domain].Source(path))
}

func (p *plane) dial(source *certs.Source) *grpc.ClientConn {
	p.t.Helper()
	tls := certs.ClientTLS(source, certs.AuthorizeID(p.cp.ID()), "h2")
	conn, err := grpc.NewClient("passthrough:///"+p.cp.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(tls)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
	return conn
}

// patience is a context for what should come soon, so that a test which waits in
// vain fails and does not hang.
func (p *plane) patience() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	p.t.Cleanup(cancel)
	return ctx
}

func (p *plane) operator() *grpc.ClientConn { return p.as("mesh.demo", "/operators/alice") }

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
			"orchestrator": {Id: "spiffe://onprem.demo/ai/orchestrator", Owner: "ml-platform"},
			"llm": {
				Id: "spiffe://azure.demo/ai/llm", Owner: "ml-platform", Addresses: []string{"127.3.0.10"},
				Serves: map[string]string{"chat": "openai://:8000"},
			},
		},
		Transitions: []*policyv1.Transition{{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "records", ReviewBy: "2999-01-01"}},
		Intents:     []*policyv1.Intent{{Name: "plan", Allow: &policyv1.Match{From: "orchestrator", To: "llm", Service: "chat"}}},
	}
}

func (p *plane) sign(serial uint64, previous string) *policyv1.SignedPolicy {
	p.t.Helper()
	sp, err := signed.Sign(testPolicy(), serial, previous, false, p.signer)
	if err != nil {
		p.t.Fatal(err)
	}
	return sp
}

func (p *plane) publish(serial uint64, previous string) *policyv1.SignedPolicy {
	p.t.Helper()
	sp := p.sign(serial, previous)
	if _, err := controlv1.NewPolicyServiceClient(p.operator()).Publish(p.t.Context(), &controlv1.PublishRequest{Signed: sp}); err != nil {
		p.t.Fatal(err)
	}
	return sp
}

// half is one gateway's account of a crossing from onprem to azure.
func half(t *testing.T, id, gateway string, side crossingv1.Side) *crossingv1.Half {
	t.Helper()
	canonical, err := signed.Canonical(testPolicy())
	if err != nil {
		t.Fatal(err)
	}
	return &crossingv1.Half{
		Id: id, Key: &crossingv1.Key{Egress: onprem1, Ingress: azure1, Run: testRun, Sequence: 1}, Side: side,
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "records"},
		Source:     "spiffe://onprem.demo/ai/orchestrator", Destination: "spiffe://azure.demo/ai/llm",
		Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Span: "00f067aa0ba902b7",
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "POST /v1/chat/completions", Service: "chat"},
		End: &crossingv1.End{
			Gateway: gateway, Decision: crossingv1.Decision_ALLOW, Intent: "plan",
			Policy: &crossingv1.PolicyRef{Serial: 1, Revision: signed.Revision(canonical)},
			Peer:   &crossingv1.Peer{Attach: crossingv1.Attach_MTLS}, Open: timestamppb.New(time.Now()),
		},
		Tunnel: &crossingv1.Tunnel{Carrier: "TCP", Tls: "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256"},
	}
}

// frames are both frames of one gateway's account.
func frames(t *testing.T, id, gateway string, side crossingv1.Side) [][]byte {
	t.Helper()
	open := half(t, id, gateway, side)
	end := &crossingv1.Close{
		Id: id, Key: open.GetKey(), Side: side, Duration: durationpb.New(time.Second),
		RequestBytes: 10, ResponseBytes: 20, Status: 200, Cause: crossingv1.Cause_DONE,
	}
	var all [][]byte
	for _, f := range []*crossingv1.Frame{{Open: open}, {Close: end}} {
		f.Gateway = gateway
		f.Run = testRun
		data, err := crossing.MarshalFrame(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

func (p *plane) deliver(domain, name string, batch *controlv1.Batch) *controlv1.Ack {
	p.t.Helper()
	stream, err := controlv1.NewCrossingServiceClient(p.as(domain, "/sallyport/gateway/"+name)).Deliver(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := stream.Send(batch); err != nil {
		p.t.Fatal(err)
	}
	ack, err := stream.Recv()
	if err != nil {
		p.t.Fatal(err)
	}
	return ack
}

func recordsOf(t *testing.T, conn grpc.ClientConnInterface, req *controlv1.ListCrossingsRequest) []*crossingv1.Record {
	t.Helper()
	stream, err := controlv1.NewCrossingServiceClient(conn).ListCrossings(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return all(t, stream)
}

// deliverBoth delivers both accounts of one crossing and gives its id.
func (p *plane) deliverBoth() string {
	p.t.Helper()
	id := crossing.NewID(time.Now())
	for _, b := range []struct {
		domain, name, gateway string
		side                  crossingv1.Side
	}{
		{"onprem.demo", "onprem-1", onprem1, crossingv1.Side_EGRESS},
		{"azure.demo", "azure-1", azure1, crossingv1.Side_INGRESS},
	} {
		ack := p.deliver(b.domain, b.name, &controlv1.Batch{Frames: frames(p.t, id, b.gateway, b.side), Through: 9})
		if len(ack.GetRejected()) > 0 || ack.GetThrough() != 9 {
			p.t.Fatalf("Deliver() = %v", ack)
		}
	}
	return id
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
