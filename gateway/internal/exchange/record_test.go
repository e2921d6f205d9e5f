package exchange

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/naming"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// counted is a spool that only counts.
type counted struct {
	sequence uint64
	run      string
}

func (c *counted) RunID() string                                          { return c.run }
func (c *counted) Next(string) uint64                                     { c.sequence++; return c.sequence }
func (*counted) Open(*crossingv1.Half, bool, bool) error                  { return nil }
func (*counted) Say(*crossingv1.Frame, bool) error                        { return nil }
func (*counted) Close(*crossingv1.Close) error                            { return nil }
func (*counted) Refuse(crossingv1.Reason, netip.AddrPort, string, string) {}
func (c *counted) config() Config                                         { return Config{Self: near, Spool: c, Log: zap.NewNop()} }

// sent is a tunnel that takes a header and gives no stream.
type sent struct {
	tunnel.Tunnel
	header *crossingv1.Header // a copy of the last one; nil to take none
}

func (s *sent) Open(_ context.Context, h *crossingv1.Header) (tunnel.Stream, error) {
	if s.header != nil {
		s.header = proto.CloneOf(h)
	}
	return nil, nil
}

// recorded is one crossing, to record again and again at either gateway.
type recorded struct {
	cfg     Config
	verdict *authz.Verdict
	req     *listener.Request
	tunnel  *sent
	info    tunnel.Info
	header  *crossingv1.Header
	ingress *Ingress
	stream  halfStream
}

func newRecorded(t testing.TB) *recorded {
	t.Helper()
	req := request("POST", "/v1/chat", "")
	req.Caller.Address = netip.MustParseAddrPort("192.0.2.1:4711")
	w := newWorld(t, policytest.Estate(t, 1, nil))
	v := authz.New(near, "near", w).Egress(agent, &req.Head, time.Now())
	if !v.Allow {
		t.Fatalf("denied: %s %s", v.Reason, v.Detail)
	}
	r := &recorded{
		cfg: (&counted{run: crossing.NewRun()}).config(), verdict: &v, req: req, tunnel: &sent{header: &crossingv1.Header{}},
		ingress: NewIngress(Config{}, nil),
		info:    tunnel.Info{Peer: far, Carrier: tunnel.TCP, TLS: "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256", RoundTrip: time.Millisecond, Choice: tunnel.Usual},
	}
	r.depart(t)
	r.header, r.tunnel.header = r.tunnel.header, nil
	r.stream.header = r.header
	return r
}

// depart records the crossing as an egress gateway does.
func (r *recorded) depart(t testing.TB) {
	now := time.Now()
	n := naming.New(now, naming.Trace(&r.req.Head.Fields), r.req.Caller.Address, &r.req.Head)
	d := newDeparture(context.Background(), r.req, nil)
	d.account, d.traceparent = r.cfg.newAccount(n.ID, crossingv1.Side_EGRESS, r.verdict, now), n.Traceparent
	d.half.Traced(n.Traceparent)
	d.half.From(&r.req.Caller, n.Address)
	d.asked(n.Operation, &r.req.Head)
	d.numbered(d.cfg.Self.String(), far.String(), d.cfg.Spool.RunID(), d.cfg.Spool.Next(""))
	d.half.Carried(r.info)
	if err := d.open(r.verdict); err != nil {
		t.Fatal(err)
	}
	if _, err := d.say(context.Background(), r.verdict, r.tunnel); err != nil {
		t.Fatal(err)
	}
	d.answered(&l7.ResponseHead{Status: 200})
	d.ended(crossingv1.Cause_DONE, 0)
	d.free()
}

// arrive records the crossing as an ingress gateway does.
func (r *recorded) arrive(t testing.TB) {
	trace, _ := l7.ParseTraceparent(r.header.GetTraceparent())
	a := r.ingress.newArrival(&r.stream, trace)
	a.account = r.cfg.newAccount(r.header.GetId(), crossingv1.Side_INGRESS, r.verdict, time.Now())
	a.verdict = *r.verdict
	a.identify(r.info)
	a.names.Make(far, r.header, a.trace, &r.req.Head)
	a.asked(a.names.Operation, &r.req.Head)
	if !a.begin(t.Context(), r.verdict, &r.req.Head, true) {
		t.Fatal("not recorded")
	}
	a.answered(&l7.ResponseHead{Status: 200})
	a.ended(crossingv1.Cause_DONE, 0)
	a.free(&r.ingress.arrivals)
}

// BenchmarkRecord: what does filling a crossing's record cost each gateway,
// without its spool?
func BenchmarkRecord(b *testing.B) {
	r := newRecorded(b)
	for name, record := range map[string]func(testing.TB){"egress": r.depart, "ingress": r.arrive} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				record(b)
			}
		})
	}
}
