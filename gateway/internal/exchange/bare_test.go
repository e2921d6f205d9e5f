package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	tunnelcarrier "github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tcptunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// bareVariable, if set, makes this test binary a gateway without policy and
// records, for e2e/bench to compare a whole one with: the same listener,
// exchange, tunnels and upstream. It lets everybody through, so it is no
// command that anybody could build and run by mistake.
const bareVariable = "SALLYPORT_BARE_GATEWAY"

// bareGateway is the variable's value, as JSON.
type bareGateway struct {
	Bootstrap   string // the file of the gateway that it stands in for
	Peer        string // the other gateway's SPIFFE ID
	Environment string // the other gateway's
	Address     string // of the other gateway's tunnels; "" at the far end
	Backend     string // where everything goes that comes in
}

func TestMain(m *testing.M) {
	text := os.Getenv(bareVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var b bareGateway
	err := json.Unmarshal([]byte(text), &b)
	if err == nil {
		err = b.run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (b *bareGateway) run(ctx context.Context) error {
	text, err := os.ReadFile(b.Bootstrap)
	if err != nil {
		return err
	}
	var boot configv1.Bootstrap
	if err := protojson.Unmarshal(text, &boot); err != nil {
		return err
	}
	source, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: boot.GetWorkloadApi()})
	if err != nil {
		return err
	}
	defer source.Close()
	peer, err := spiffeid.FromString(b.Peer)
	if err != nil {
		return err
	}
	both := Config{Self: source.ID(), Authz: everybody{boot.GetEnvironment(), b.Environment}, Spool: nowhere{crossing.NewRun(), new(atomic.Uint64)}, Log: zap.NewNop()}
	shared := tunnelcarrier.Config{Source: source, Authorize: func(spiffeid.ID) error { return nil }}
	pool := tunnel.NewPool(tunnel.PoolConfig{Dialers: map[string]tunnel.Dialer{tunnel.TCP: tcptunnel.NewDialer(shared)}})
	pool.SetPeers([]tunnel.Peer{{ID: peer, Environment: b.Environment, Address: b.Address}})
	accepted, err := bareListen(boot.GetTunnel(), shared)
	if err != nil {
		return err
	}
	attach, err := listener.New(listener.Config{
		Loopback: boot.GetAttachLoopback(), Source: source, Handler: NewEgress(both, pool), Refuser: nowhere{},
	})
	if err != nil {
		return err
	}
	ingress := NewIngress(both, upstream.New(source, fixed{b.Backend}, upstream.Limits{}))
	ended := make(chan error, 3)
	go func() { ended <- attach.Run(ctx) }()
	go func() { ended <- pool.Run(ctx, ingress.ServeStream) }()
	go func() { ended <- bareAccept(ctx, accepted, pool) }()
	return <-ended
}

// bareListen takes the address of a gateway that has just stopped, which may take
// a moment to be free.
func bareListen(addr string, cfg tunnelcarrier.Config) (*tcptunnel.Listener, error) {
	for began := time.Now(); ; <-time.After(50 * time.Millisecond) {
		l, err := tcptunnel.Listen(addr, cfg)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Since(began) > 20*time.Second {
			return l, err
		}
	}
}

func bareAccept(ctx context.Context, l *tcptunnel.Listener, pool *tunnel.Pool) error {
	for {
		t, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		pool.Add(t)
	}
}

// fixed is where every service is.
type fixed []string

func (f fixed) Endpoints(string, string) []string { return f }

// everybody may reach the one backend in the other environment.
type everybody struct{ own, other string }

var _ authorizer = everybody{}

func (everybody) Answer(*authz.Verdict, *l7.ResponseHead, time.Time) *authz.Answer {
	return nil
}

func (e everybody) verdict(from, to string) authz.Verdict {
	return authz.Verdict{
		Allow: true, From: from, To: to,
		Workload: &policy.Workload{Name: "backend", Environment: to, ID: far, Plaintext: true},
		Service:  &policy.Service{Name: "raw", Protocol: "tcp"},
	}
}

func (e everybody) Egress(spiffeid.ID, *l7.RequestHead, time.Time) authz.Verdict {
	return e.verdict(e.own, e.other)
}

func (e everybody) Ingress(spiffeid.ID, *crossingv1.Header, *l7.RequestHead, time.Time) authz.Verdict {
	return e.verdict(e.other, e.own)
}

func (e everybody) EgressUnread(reason crossingv1.Reason, _ string) authz.Verdict {
	return authz.Verdict{Reason: reason}
}

func (e everybody) IngressUnread(spiffeid.ID, *crossingv1.Header, string) authz.Verdict {
	return authz.Verdict{Reason: crossingv1.Reason_MALFORMED}
}

// nowhere is where nothing is recorded.
type nowhere struct {
	run  string
	last *atomic.Uint64 // number
}

var (
	_ spool            = nowhere{}
	_ listener.Refuser = nowhere{}
)

func (n nowhere) RunID() string                                          { return n.run }
func (n nowhere) Next(string) uint64                                     { return n.last.Add(1) }
func (nowhere) Open(*crossingv1.Half, bool, bool) error                  { return nil }
func (nowhere) Say(*crossingv1.Frame, bool) error                        { return nil }
func (nowhere) Close(*crossingv1.Close) error                            { return nil }
func (nowhere) Refuse(crossingv1.Reason, netip.AddrPort, string, string) {}

func (nowhere) RefuseKnown(listener.Caller, *l7.RequestHead, crossingv1.Reason, string) (id, owner string) {
	return "", ""
}
