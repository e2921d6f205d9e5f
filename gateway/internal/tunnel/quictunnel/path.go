package quictunnel

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/zap"
)

const (
	// silentFor is how long a path must be silent, beyond a round trip, before
	// another one is tried.
	silentFor = 500 * time.Millisecond
	// probeFor is how long one attempt takes; it holds several packets.
	probeFor = time.Second
	// routeEvery is the time between two looks at the route to the peer.
	routeEvery = time.Second
	// mostPaths is how often a tunnel may move. Each time leaves a little behind
	// in the library until the tunnel ends.
	mostPaths = 64
)

// network is where paths come from.
type network struct {
	// open binds a UDP socket to dial from.
	open func() (net.PacketConn, error)
	// route is the local address that packets to a peer leave from.
	route func(peer *net.UDPAddr) (netip.Addr, error)
}

func systemNetwork() network {
	return network{
		open: func() (net.PacketConn, error) { return openSocket(":0") },
		route: func(peer *net.UDPAddr) (netip.Addr, error) {
			c, err := net.DialUDP("udp", nil, peer) // sends nothing
			if err != nil {
				return netip.Addr{}, err
			}
			defer c.Close() //nolint:errcheck // it sent nothing
			return address(c.LocalAddr()).Addr(), nil
		},
	}
}

// path is a socket of its own for one tunnel.
type path struct {
	tr *quic.Transport
	qp *quic.Path
}

// paths moves a tunnel that this end dialled to another path when its own is
// silent, or when the route to the peer leaves from another address. Streams
// live on. A path whose probe was not answered is kept for the next time.
type paths struct {
	c     *conn
	net   network
	peer  *net.UDPAddr
	local netip.Addr // tend's: where the route left from
	asked time.Time  // tend's: when that was looked at

	mu     sync.Mutex // guards what follows
	moving bool
	closed bool
	all    []*path // the last one is the one in use if spare is nil
	spare  *path   // it is in all, too
	active *path   // nil: the endpoint's
}

// look is called now and then, from one goroutine. It says how long it may be
// until the next time.
func (p *paths) look(now time.Time, silent, roundTrip time.Duration) time.Duration {
	moved := p.routeMoved(now)
	switch left := silentFor + roundTrip - silent; {
	case moved:
	case silent == 0:
		return pingIdle
	case left > 0:
		return left
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.moving && !p.closed {
		p.moving = true
		p.c.ended.Go(func() { p.move(moved) })
	}
	return probeFor
}

// routeMoved says whether packets to the peer leave from another address than
// before. Without any route they cannot leave at all, and silence tells.
func (p *paths) routeMoved(now time.Time) bool {
	if now.Sub(p.asked) < routeEvery {
		return false
	}
	p.asked = now
	local, err := p.net.route(p.peer)
	if err != nil || local == p.local {
		return false
	}
	p.local = local
	return true
}

// move tries another path until the peer answers on it, or is heard again on
// the one in use.
func (p *paths) move(anyway bool) {
	defer func() {
		p.mu.Lock()
		p.moving = false
		p.mu.Unlock()
	}()
	next, err := p.next()
	if err != nil {
		p.c.log.Warn("no other path", zap.Stringer("peer", p.c.info.Peer), zap.Error(err))
		return
	}
	for next != nil && !isClosed(p.c.done) {
		if p.probe(next) == nil {
			p.switchTo(next)
			return
		}
		if !anyway && p.c.Info().Silent == 0 {
			return
		}
		anyway = false
	}
}

// next gives the spare path or a new one; nil if there may be no more.
func (p *paths) next() (*path, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare != nil || p.closed || len(p.all) >= mostPaths {
		return p.spare, nil
	}
	conn, err := p.net.open()
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: conn, StatelessResetKey: p.c.ep.tr.StatelessResetKey}
	qp, err := p.c.qc.AddPath(tr)
	if err != nil {
		conn.Close() //nolint:errcheck // the other error says more
		return nil, err
	}
	p.spare = &path{tr: tr, qp: qp}
	p.all = append(p.all, p.spare)
	return p.spare, nil
}

func (p *paths) probe(next *path) error {
	ctx, cancel := context.WithTimeout(p.c.qc.Context(), probeFor)
	defer cancel()
	return next.qp.Probe(ctx)
}

// switchTo moves the tunnel and closes the socket that it has left, if it was
// its own.
func (p *paths) switchTo(next *path) {
	if err := next.qp.Switch(); err != nil {
		return // the connection has ended
	}
	signal(p.c.busy) // a PING makes the library look
	p.mu.Lock()
	left := p.active
	p.active, p.spare = next, nil
	p.mu.Unlock()
	if left != nil {
		left.retire()
	}
	p.c.log.Info("tunnel changed its path", zap.Stringer("peer", p.c.info.Peer), zap.Stringer("from", next.tr.Conn.LocalAddr()))
}

// retire closes the path's socket and nothing else: the library would end the
// connection with the transport.
func (p *path) retire() {
	if s, ok := p.tr.Conn.(*socket); ok {
		s.retire()
	}
}

// close gives everything back once the connection has ended.
func (p *paths) close() {
	p.mu.Lock()
	p.closed = true
	all := p.all
	p.all, p.spare = nil, nil
	p.mu.Unlock()
	for _, x := range all {
		x.tr.Conn.Close() //nolint:errcheck // nobody is left to tell
		x.tr.Close()      //nolint:errcheck // nobody is left to tell
	}
}
