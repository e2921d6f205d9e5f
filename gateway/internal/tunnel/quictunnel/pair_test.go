package quictunnel

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	gatewayPath = "/sallyport/gateway/gw-1"
	oneWay      = 20 * time.Millisecond
)

// virtual is a network in a bubble: packets take oneWay, and some are lost.
type virtual struct {
	t    testing.TB
	sim  simnet.Simnet
	wire *wire

	mu   sync.Mutex // guards what follows
	next int
}

// wire drops packets: by chance, by address, or all of them.
type wire struct {
	simnet.PerfectRouter

	mu   sync.Mutex // guards what follows
	loss float64
	dice *rand.Rand
	cut  func(p simnet.Packet) bool
}

func (w *wire) SendPacket(p simnet.Packet) error {
	w.mu.Lock()
	drop := w.loss > 0 && w.dice.Float64() < w.loss || w.cut != nil && w.cut(p)
	w.mu.Unlock()
	if drop {
		return nil
	}
	w.PerfectRouter.SendPacket(p) // one that nobody is there for is lost
	return nil
}

func (w *wire) set(loss float64, cut func(simnet.Packet) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss, w.cut = loss, cut
}

func newVirtual(t testing.TB) *virtual {
	t.Helper()
	w := &wire{dice: rand.New(rand.NewPCG(1, 2))}
	v := &virtual{t: t, wire: w, next: 1}
	v.sim.Router = w
	t.Cleanup(func() {
		tunneltest.Pass(5 * time.Second) // the library forgets closed connections
		v.sim.Close()
	})
	return v
}

// socket is a new host's.
func (v *virtual) socket() *simnet.SimConn {
	v.mu.Lock()
	defer v.mu.Unlock()
	addr := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(v.next)}), 9000))
	v.next++
	link := &simnet.SimulatedLink{
		DownlinkSettings: simnet.LinkSettings{MTU: 1500}, UplinkSettings: simnet.LinkSettings{MTU: 1500},
		Latency: oneWay, UploadPacket: v.wire,
	}
	c := simnet.NewBlockingSimConn(addr, link)
	v.wire.AddNode(addr, link)
	link.Start()
	v.t.Cleanup(func() { link.Close() })
	return c
}

func (v *virtual) network() network {
	return network{
		open:  func() (net.PacketConn, error) { return v.socket(), nil },
		route: func(*net.UDPAddr) (netip.Addr, error) { return netip.AddrFrom4([4]byte{10, 0, 0, 100}), nil },
	}
}

func (v *virtual) listen(cfg carrier.Config) *Listener {
	v.t.Helper()
	l, err := listenOn(v.socket(), cfg)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { l.Close() })
	return l
}

func (v *virtual) dial(l *Listener, cfg carrier.Config, class tunnel.Class) (dialled, accepted *conn) {
	v.t.Helper()
	d := NewDialer(cfg)
	d.net = v.network()
	a, err := d.Dial(v.t.Context(), l.Addr().String(), l.cfg.Source.ID(), class)
	if err != nil {
		v.t.Fatalf("Dial: %v", err)
	}
	v.t.Cleanup(func() { a.Close() })
	b, err := l.Accept(v.t.Context())
	if err != nil {
		v.t.Fatalf("Accept: %v", err)
	}
	v.t.Cleanup(func() { b.Close() })
	return a.(*conn), b.(*conn)
}

func anyPeer(spiffeid.ID) error { return nil }

// configs are those of two gateways that let each other in.
func configs(t testing.TB, l carrier.Limits) (near, far carrier.Config) {
	t.Helper()
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	near = carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer, Limits: l}
	far = carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer, Limits: l}
	return near, far
}

// virtualPair is the two ends of a tunnel in a bubble.
func virtualPair(t testing.TB, l carrier.Limits) (dialled, accepted *conn, v *virtual) {
	t.Helper()
	v = newVirtual(t)
	near, far := configs(t, l)
	dialled, accepted = v.dial(v.listen(far), near, tunnel.Interactive)
	return dialled, accepted, v
}

// refusal is what Refuse was told.
type refusal struct {
	reason crossingv1.Reason
	addr   netip.AddrPort
	detail string
}

func refusals(cfg *carrier.Config) <-chan refusal {
	told := make(chan refusal, 16)
	cfg.Refuse = func(r crossingv1.Reason, a netip.AddrPort, d string) { told <- refusal{r, a, d} }
	return told
}

// systemPair is the two ends of a tunnel over UDP on loopback.
func systemPair(t testing.TB, near, far carrier.Config) (dialled, accepted *conn) {
	t.Helper()
	l := listen(t, far)
	a, err := NewDialer(near).Dial(t.Context(), l.Addr().String(), far.Source.ID(), tunnel.Interactive)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { a.Close() })
	b, err := l.Accept(t.Context())
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	t.Cleanup(func() { b.Close() })
	return a.(*conn), b.(*conn)
}

func listen(t testing.TB, cfg carrier.Config) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
