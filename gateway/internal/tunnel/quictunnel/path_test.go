package quictunnel

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
)

// relay passes datagrams on as a NAT does: the far side sees one address for
// each address at the near side. Some near ports can be cut.
type relay struct {
	near *net.UDPConn
	far  *net.UDPAddr
	wg   sync.WaitGroup

	mu   sync.Mutex // guards what follows
	cut  map[int]bool
	seen map[netip.AddrPort]*net.UDPConn
	last int // the near port that was heard last
}

func newRelay(t *testing.T, far net.Addr) *relay {
	t.Helper()
	near, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{near: near, far: far.(*net.UDPAddr), cut: map[int]bool{}, seen: map[netip.AddrPort]*net.UDPConn{}}
	r.wg.Go(r.forth)
	t.Cleanup(r.close)
	return r
}

func (r *relay) close() {
	r.near.Close()
	r.mu.Lock()
	for _, c := range r.seen {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *relay) forth() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.near.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if c := r.to(from); c != nil {
			c.Write(buf[:n])
		}
	}
}

// to is the far side's connection for a near address; nil if that is cut.
func (r *relay) to(from netip.AddrPort) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut[int(from.Port())] {
		return nil
	}
	r.last = int(from.Port())
	c := r.seen[from]
	if c == nil {
		var err error
		if c, err = net.DialUDP("udp", nil, r.far); err != nil {
			return nil
		}
		r.seen[from] = c
		r.wg.Go(func() { r.back(c, from) })
	}
	return c
}

func (r *relay) back(c *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		cut := r.cut[int(to.Port())]
		r.mu.Unlock()
		if !cut {
			r.near.WriteToUDPAddrPort(buf[:n], to)
		}
	}
}

// cutLast cuts the near port that was heard last, and gives it.
func (r *relay) cutLast() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut[r.last] = true
	return r.last
}

// TestPathIsCut: one source port does not get through any more, then the next
// one; streams live on, and a socket that was left is closed.
func TestPathIsCut(t *testing.T) {
	near, far := configs(t, carrier.Limits{})
	l := listen(t, far)
	r := newRelay(t, l.Addr())
	x, err := NewDialer(near).Dial(t.Context(), r.near.LocalAddr().String(), far.Source.ID(), tunnel.Interactive)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	y, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	a, b := tunneltest.Streams(t, x, y)
	back, forth := tunneltest.Streams(t, y, x)
	echo := func(text string) {
		t.Helper()
		begin := time.Now()
		tunneltest.Write(t, a, text)
		tunneltest.WantRead(t, b, text)
		tunneltest.Write(t, back, text)
		tunneltest.WantRead(t, forth, text)
		t.Logf("%s: %s", text, time.Since(begin))
	}
	echo("as dialled")
	first := r.cutLast()
	echo("after the first cut")
	second := r.cutLast()
	echo("after the second cut")
	if first == second {
		t.Fatal("the tunnel did not change its port")
	}
	own := x.(*conn)
	own.paths.mu.Lock()
	left, now := own.paths.all[0].tr.Conn.(*socket), own.paths.active.tr.Conn.(*socket)
	own.paths.mu.Unlock()
	if !isClosed(left.retired) || isClosed(now.retired) {
		t.Error("the socket that was left is open, or the one in use is not")
	}
	x.Close()
	if !isClosed(now.retired) {
		t.Error("a socket is open after its tunnel's end")
	}
}

// TestPathIsCutOften: as often as may be, in virtual time; then the tunnel goes
// the way of all that are silent.
func TestPathIsCutOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, v := virtualPair(t, carrier.Limits{})
		near, far := tunneltest.Streams(t, a, b)
		for i := range 20 {
			used := b.qc.RemoteAddr().String()
			v.wire.set(0, func(p simnet.Packet) bool { return p.From.String() == used || p.To.String() == used })
			begin := time.Now()
			tunneltest.Write(t, near, "moves")
			tunneltest.WantRead(t, far, "moves")
			if d := time.Since(begin); d > 1500*time.Millisecond {
				t.Errorf("cut %d was noticed after %s", i, d)
			}
			tunneltest.Write(t, far, "and back")
			tunneltest.WantRead(t, near, "and back")
			tunneltest.Pass(time.Second)
		}
	})
}

// TestCutOfEverythingOpensOneSocketOnly: a peer that is gone is no reason to
// open socket after socket.
func TestCutOfEverythingOpensOneSocketOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, v := virtualPair(t, carrier.Limits{})
		near, far := tunneltest.Streams(t, a, b)
		for range 3 {
			v.wire.set(0, everything)
			tunneltest.Pass(10 * time.Second)
			v.wire.set(0, nil)
			tunneltest.Write(t, near, "here again")
			tunneltest.WantRead(t, far, "here again")
			tunneltest.Pass(5 * time.Second)
		}
		a.paths.mu.Lock()
		n := len(a.paths.all)
		a.paths.mu.Unlock()
		if n > 3 {
			t.Errorf("%d sockets were opened for 3 cuts", n)
		}
	})
}

// TestRouteMoves: the tunnel changes its path before anything is lost.
func TestRouteMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		near, far := configs(t, carrier.Limits{})
		l := v.listen(far)
		var host atomic.Uint32
		d := NewDialer(near)
		d.net = v.network()
		d.net.route = func(*net.UDPAddr) (netip.Addr, error) {
			if n := byte(host.Load()); n != 9 {
				return netip.AddrFrom4([4]byte{10, 0, 0, n}), nil
			}
			return netip.Addr{}, syscall.ENETUNREACH
		}
		x, err := d.Dial(t.Context(), l.Addr().String(), far.Source.ID(), tunnel.Interactive)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		y, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer y.Close()
		a, b := tunneltest.Streams(t, x, y)
		from := func() string { return y.(*conn).qc.RemoteAddr().String() }
		before := from()
		host.Store(9) // no route at all is no reason to move
		tunneltest.Pass(3 * time.Second)
		if from() != before {
			t.Error("moved without a route")
		}
		host.Store(2)
		tunneltest.Pass(3 * time.Second)
		if from() == before {
			t.Error("did not move")
		}
		tunneltest.Write(t, a, "still here")
		tunneltest.WantRead(t, b, "still here")
	})
}
