package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// switchboard is the address at which gateways believe their control plane to be.
// It leads there, until it is turned to a thief.
type switchboard struct {
	net.Listener
	thief chan net.Conn

	mu    sync.Mutex // guards what follows
	real  string
	taken bool
	open  map[net.Conn]bool
}

func newSwitchboard(t *testing.T) *switchboard {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &switchboard{Listener: l, thief: make(chan net.Conn, 16), open: map[net.Conn]bool{}}
	go s.serve()
	t.Cleanup(func() { l.Close(); s.turn(false) })
	return s
}

// lead has a gateway's bootstrap file name the switchboard.
func (s *switchboard) lead(b *configv1.Bootstrap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.real = b.GetControlPlane().GetAddress()
	b.ControlPlane.Address = s.Addr().String()
}

func (s *switchboard) serve() {
	for {
		conn, err := s.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		real, taken := s.real, s.taken
		s.open[conn] = true
		s.mu.Unlock()
		if taken {
			s.thief <- conn
			continue
		}
		go splice(conn, real)
	}
}

func splice(conn net.Conn, to string) {
	defer conn.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		io.Copy(far, conn)
		far.Close()
	}()
	io.Copy(conn, far)
}

// turn leads whoever comes from now on to the thief, or to the control plane again.
// Connections that there are end.
func (s *switchboard) turn(thief bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = thief
	for conn := range s.open {
		conn.Close()
	}
	clear(s.open)
}

// stolen is the switchboard as a listener of the thief's.
type stolen struct {
	*switchboard

	done  chan struct{}
	close func() // closes it, once
}

func newStolen(s *switchboard) stolen {
	done := make(chan struct{})
	return stolen{s, done, sync.OnceFunc(func() { close(done) })}
}

func (s stolen) Accept() (net.Conn, error) {
	select {
	case conn := <-s.thief:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s stolen) Close() error {
	s.close()
	return nil
}

// plane is a control plane in the hands of a thief, who has all of its keys: the
// gateways believe that it is theirs. It says to them what a test wants.
type plane struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer

	mu       sync.Mutex // guards what follows
	streams  map[string]*follower
	attached chan struct{} // closed and replaced when a gateway comes
	nonces   int
}

// follower is a gateway that takes a thief for its control plane.
type follower struct {
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	mu     sync.Mutex // guards waiting
	// waiting are those who want to know what became of a response, by nonce.
	waiting map[string]chan string
}

func newPlane(t *testing.T, s *switchboard, source *certs.Source) *plane {
	t.Helper()
	p := &plane{streams: map[string]*follower{}, attached: make(chan struct{})}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(certs.ServerTLS(source, certs.AuthorizeAny(), "h2"))),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	discovery.RegisterAggregatedDiscoveryServiceServer(server, p)
	go server.Serve(newStolen(s))
	t.Cleanup(server.Stop)
	return p
}

// DeltaAggregatedResources takes a gateway in, and what it answers.
func (p *plane) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	f := &follower{stream: stream, waiting: map[string]chan string{}}
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if id := req.GetNode().GetId(); id != "" {
			p.mu.Lock()
			p.streams[id] = f
			close(p.attached)
			p.attached = make(chan struct{})
			p.mu.Unlock()
		}
		f.mu.Lock()
		if to := f.waiting[req.GetResponseNonce()]; to != nil {
			to <- req.GetErrorDetail().GetMessage()
		}
		f.mu.Unlock()
	}
}

// follower waits for an environment's gateway.
func (p *plane) follower(t *testing.T, env string) *follower {
	t.Helper()
	deadline := time.After(meshtest.Patience)
	for {
		p.mu.Lock()
		f, attached := p.streams[localmesh.GatewayID(env).String()], p.attached
		p.mu.Unlock()
		if f != nil {
			return f
		}
		select {
		case <-attached:
		case <-deadline:
			t.Fatalf("the gateway of %s did not come to the thief", env)
		}
	}
}

// push sends a gateway what one likes, and gives what it says against it: "" if it
// takes it.
func (p *plane) push(t *testing.T, env string, resp *discovery.DeltaDiscoveryResponse) (nack string) {
	t.Helper()
	f := p.follower(t, env)
	p.mu.Lock()
	p.nonces++
	resp.Nonce = fmt.Sprint("thief-", p.nonces)
	p.mu.Unlock()
	answer := make(chan string, 4)
	f.mu.Lock()
	f.waiting[resp.GetNonce()] = answer
	f.mu.Unlock()
	if err := f.stream.Send(resp); err != nil {
		t.Fatalf("tell the gateway of %s: %v", env, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience)
	defer cancel()
	select {
	case nack = <-answer:
		return nack
	case <-f.stream.Context().Done():
		t.Fatalf("the gateway of %s has left the thief", env)
	case <-ctx.Done():
		t.Fatalf("the gateway of %s does not answer: %v", env, errors.Join(ctx.Err(), t.Context().Err()))
	}
	return ""
}

// resource is one that a control plane serves.
func resource(t *testing.T, name string, m proto.Message) *discovery.DeltaDiscoveryResponse {
	t.Helper()
	packed, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &discovery.DeltaDiscoveryResponse{
		TypeUrl:   packed.GetTypeUrl(),
		Resources: []*discovery.Resource{{Name: name, Version: fmt.Sprint("thief ", time.Now().UnixNano()), Resource: packed}},
	}
}

// pushPolicy serves a policy, and says that it is in force. It gives what the
// gateway says against either.
func (p *plane) pushPolicy(t *testing.T, env, revision string, sp *policyv1.SignedPolicy) (policy, state string) {
	t.Helper()
	policy = p.push(t, env, resource(t, revision, sp))
	state = p.push(t, env, resource(t, "policy", &configv1.PolicyState{Current: revision}))
	return policy, state
}

// proofAudience is that of proofs for calls to the llm.
const proofAudience = "sallyport:proof:llm.azure.mesh"

// withProofs is a mesh in which the llm is asked for its models only by those who
// prove that they ask.
func withProofs(t *testing.T) *meshtest.Mesh {
	t.Helper()
	const models = "methods: [GET], paths: [/v1/models]}\n"
	text := meshtest.Edit(t, string(meshtest.Plain()), models, models+"    require: workload-proof\n")
	return meshtest.Start(t, func(cfg *localmesh.Config) { cfg.Policy = []byte(text) })
}

// TestStolenGateway: who has an egress gateway's keys cannot speak for a workload of
// its environment that must prove its calls; with what it has seen of another, or of
// the same for another destination, it cannot either. It can with what it has seen
// of the same for the same, while that is fresh.
func TestStolenGateway(t *testing.T) {
	t.Parallel()
	m := withProofs(t)
	asked := make(chan string, 1)
	m.ServeChat(t, func(w http.ResponseWriter, r *http.Request) { asked <- r.URL.Path })
	onprem := m.Stolen(t, "onprem")
	models := headFrame(http.MethodGet, "llm.azure.mesh:8000", "/v1/models")
	at := func(offset time.Duration) string {
		onprem.NotBefore = offset
		defer func() { onprem.NotBefore = 0 }()
		return onprem.JWT("/ai/orchestrator", proofAudience)
	}
	for n, c := range []struct {
		name, proof, detail string
		reason              crossingv1.Reason
	}{
		{"without a proof", "", "no proof came", crossingv1.Reason_NO_PROOF},
		{"another workload's", onprem.JWT("/ai/other", proofAudience), "it is of spiffe://onprem.demo/ai/other, and spiffe://onprem.demo/ai/orchestrator calls", crossingv1.Reason_BAD_PROOF},
		{"its own", onprem.JWT("/sallyport/gateway/onprem-1", proofAudience), "it is of spiffe://onprem.demo/sallyport/gateway/onprem-1", crossingv1.Reason_BAD_PROOF},
		{"for another destination", m.JWT(t, "orchestrator", crossing.ProofAudience("retriever.aws.mesh")), "not trusted", crossingv1.Reason_BAD_PROOF},
		{"the workload's API key", m.Token(t, "orchestrator", "onprem"), "not trusted", crossingv1.Reason_BAD_PROOF},
		{"seen seven minutes ago", at(-7 * time.Minute), "issued 7m", crossingv1.Reason_BAD_PROOF},
		{"seen just now", m.JWT(t, "orchestrator", proofAudience), "", crossingv1.Reason_REASON_UNSPECIFIED},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := goodHeader(m)
			h.Proof = c.proof
			conn := meshtest.Admitted(t, m, meshtest.Intruder(n+1))
			openStream(t, conn, h, models)
			kind, payload := answerOf(t, conn)
			if c.reason == crossingv1.Reason_REASON_UNSPECIFIED {
				if path := <-asked; kind != kindResponseHead || path != "/v1/models" {
					t.Errorf("kind %d, the llm was asked for %q", kind, path)
				}
				return
			}
			if kind != kindRefusal || payload[0] != byte(c.reason) {
				t.Errorf("answered with kind %d, %x, want a refusal for %s", kind, payload, c.reason)
			}
			r := m.Follow(t, &controlv1.ListCrossingsRequest{Id: h.GetId()}, func(r *crossingv1.Record) bool {
				return r.GetState() == crossingv1.Record_ONE_SIDED
			})
			i := r.GetIngress()
			if i.GetReason() != c.reason || i.GetDecision() != crossingv1.Decision_DENY || !strings.Contains(i.GetDetail(), c.detail) ||
				i.GetProof() != "" || r.GetTransition().GetOwner() != "ml-platform" || r.GetSource() != localmesh.ID("orchestrator").String() {
				t.Errorf("record: %v", r)
			}
			select {
			case path := <-asked:
				t.Errorf("the llm was asked for %s", path)
			default:
			}
		})
	}
}
