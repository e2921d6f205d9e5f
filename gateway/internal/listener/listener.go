// Package listener accepts what workloads send to their own gateway: HTTP/1.1
// and HTTP/2, by mTLS, as a forward proxy or at a base URL. It authenticates
// the caller of each request and hands the exchange to a Handler. It decides
// nothing about who may do what, and it records only what never came to a
// Handler. One invariant: a Handler sees no request without a caller whose
// SVID was verified, is valid now, and is of this gateway's trust domain.
package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/crew"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Name is what a Refuser is told as the listener.
const Name = "attach"

// LoopbackName is the use of the listener without TLS.
const LoopbackName = "attach loopback"

// PortName is the use of the listeners of Config.Ports.
const PortName = "port"

// CaptureName is the use of the listeners of Config.Capture.
const CaptureName = "capture"

// Config says where to listen and who answers. Source, Handler, Refuser and at
// least one address are needed.
type Config struct {
	// Address of the TLS listener, HOST:PORT; port 0 takes any. "": none.
	Address string
	// Loopback is the address of the listener without TLS, where a JWT-SVID is
	// the only credential. It must be a loopback address. "": none.
	Loopback string
	// Ports are the addresses whose connections each go to one destination.
	Ports []Port
	// Capture is of connections that were made to other addresses; nil for none.
	Capture *Capture
	// Source is the gateway's own SVID and the bundles that callers are checked with.
	Source *certs.Source
	// Audience that a JWT-SVID must name. Default: the Source's SPIFFE ID.
	Audience string
	// Handler answers exchanges.
	Handler Handler
	// Refuser is told what never came to the Handler.
	Refuser Refuser
	// Distrusted is called when the SVIDs of live connections were verified again,
	// before those are closed whose SVIDs are not good any more. May be nil.
	Distrusted func()
	// Listen binds an address for a use: Name, LoopbackName, PortName or CaptureName.
	// Default: net.Listen.
	Listen func(use, address string) (net.Listener, error)
	// Log may be nil.
	Log *zap.Logger

	// MaxConnections open at one time; more are closed at once. Default 10,000.
	MaxConnections int
	// HeadTimeout for the TLS handshake, for a request's head, and for the first
	// request of a caller without an X509-SVID. Default 10 s.
	HeadTimeout time.Duration
	// IdleTimeout between requests, and between two pieces of a body. Default 120 s.
	IdleTimeout time.Duration
	// DrainTimeout for open exchanges when Run's context ends. Default 5 s.
	DrainTimeout time.Duration
}

// Validate says everything that is missing or wrong.
func (c *Config) Validate() error {
	var faults []error
	if c.Address == "" && c.Loopback == "" && len(c.Ports) == 0 {
		faults = append(faults, errors.New("listener: neither Address nor Loopback nor Ports"))
	}
	if c.Loopback != "" && !isLoopback(c.Loopback) {
		faults = append(faults, fmt.Errorf("listener: Loopback %q is not a loopback address, and it has no TLS", c.Loopback))
	}
	if c.Source == nil || c.Handler == nil || c.Refuser == nil {
		faults = append(faults, errors.New("listener: Source, Handler and Refuser are needed"))
	}
	return errors.Join(faults...)
}

func isLoopback(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

func (c *Config) setDefaults() {
	if c.Audience == "" {
		c.Audience = c.Source.ID().String()
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Distrusted == nil {
		c.Distrusted = func() {}
	}
	if c.Listen == nil {
		c.Listen = func(_, address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 10_000
	}
	for _, d := range [...]struct {
		set   *time.Duration
		value time.Duration
	}{{&c.HeadTimeout, 10 * time.Second}, {&c.IdleTimeout, 120 * time.Second}, {&c.DrainTimeout, 5 * time.Second}} {
		if *d.set == 0 {
			*d.set = d.value
		}
	}
}

// Listener accepts from workloads.
type Listener struct {
	cfg       Config
	log       *zap.Logger
	attach    net.Listener // nil if there is none
	loopback  net.Listener // nil if there is none
	ports     []*port
	captures  []net.Listener
	tlsConfig *tls.Config
	portTLS   *tls.Config
	desks     sync.Pool  // *desk, for connections that are not idle
	crew      *crew.Crew // serves connections until they are detached
	serving   sync.WaitGroup
	retiring  chan struct{} // closed by Retire
	retire    func()        // closes it, once

	mu    sync.Mutex // guards conns
	conns map[*conn]struct{}
}

// New binds the addresses.
func New(cfg Config) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	l := &Listener{cfg: cfg, log: cfg.Log.Named("listener"), conns: map[*conn]struct{}{}, crew: crew.New(), retiring: make(chan struct{})}
	l.retire = sync.OnceFunc(func() { close(l.retiring) })
	l.desks.New = newDesk
	// Any verified SVID may finish the handshake: that it is of another trust
	// domain is said in an answer, where the caller can read it.
	l.tlsConfig = certs.AttachTLS(cfg.Source, certs.AuthorizeAny(), "h2", "http/1.1")
	var err error
	if cfg.Address != "" {
		if l.attach, err = cfg.Listen(Name, cfg.Address); err != nil {
			return nil, fmt.Errorf("bind attach listener: %w", err)
		}
	}
	if cfg.Loopback != "" {
		if l.loopback, err = cfg.Listen(LoopbackName, cfg.Loopback); err != nil {
			l.closeSockets()
			return nil, fmt.Errorf("bind loopback listener: %w", err)
		}
	}
	if err := errors.Join(l.bindPorts(), l.bindCapture()); err != nil {
		l.closeSockets()
		return nil, err
	}
	return l, nil
}

// Addr is the address of the TLS listener, nil if there is none.
func (l *Listener) Addr() net.Addr { return addrOf(l.attach) }

// LoopbackAddr is the address of the listener without TLS, nil if there is none.
func (l *Listener) LoopbackAddr() net.Addr { return addrOf(l.loopback) }

func addrOf(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

func (l *Listener) closeSockets() {
	for _, s := range [...]net.Listener{l.attach, l.loopback} {
		if s != nil {
			_ = s.Close()
		}
	}
	for _, p := range l.ports {
		_ = p.Close()
	}
	for _, s := range l.captures {
		_ = s.Close()
	}
}

// Retire makes Run accept no more. Connections that are open go on, and with its
// next answer each caller is told that its own ends there: one that is idle is
// not closed under a request that is on its way. Run returns when the last one has
// ended, or as ever when its context ends.
func (l *Listener) Retire() { l.retire() }

// Run accepts until the context ends, then lets open exchanges end within
// DrainTimeout and closes everything. The error is nil after the context's end,
// and after Retire.
func (l *Listener) Run(ctx context.Context) error {
	// Exchanges outlive ctx by the time that draining takes.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var accepting sync.WaitGroup
	for _, s := range [...]net.Listener{l.attach, l.loopback} {
		if s != nil {
			accepting.Go(func() { l.accept(ctx, s, func(nc net.Conn) { l.start(work, nc, s == l.attach) }) })
		}
	}
	for _, p := range l.ports {
		accepting.Go(func() { l.accept(ctx, p, func(nc net.Conn) { l.serve(work, l.newPortConn(nc, p)) }) })
	}
	for _, s := range l.captures {
		accepting.Go(func() { l.accept(ctx, s, func(nc net.Conn) { l.serve(work, l.newCapturedConn(nc)) }) })
	}
	checking, checked := context.WithCancel(ctx)
	var rechecking sync.WaitGroup
	rechecking.Go(func() { l.recheck(checking) })
	defer rechecking.Wait()
	defer checked()
	select {
	case <-ctx.Done():
	case <-l.retiring:
		l.each((*conn).retire) // and again once no more come
	}
	l.closeSockets()
	accepting.Wait()
	if ctx.Err() == nil {
		l.outlive(ctx)
	}
	l.drain(stop)
	return nil
}

// outlive waits until no connection is open or the context ends.
func (l *Listener) outlive(ctx context.Context) {
	l.each((*conn).retire)
	select {
	case <-l.served():
	case <-ctx.Done():
	}
}

// served is closed when no connection is open. None must begin any more.
func (l *Listener) served() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		l.serving.Wait()
		close(done)
	}()
	return done
}

// accept hands connections to serve. An error that is not the socket's end,
// such as too few file descriptors, passes with time.
func (l *Listener) accept(ctx context.Context, s net.Listener, serve func(net.Conn)) {
	for {
		nc, err := s.Accept()
		switch {
		case err == nil:
			serve(nc)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			l.log.Warn("accept failed", zap.Error(err))
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func (l *Listener) start(ctx context.Context, nc net.Conn, secure bool) {
	l.serve(ctx, &conn{l: l, raw: nc, nc: nc, secure: secure, addr: remoteOf(nc), log: l.log})
}

func (l *Listener) serve(ctx context.Context, c *conn) {
	if !l.add(c) {
		l.cfg.Refuser.Refuse(crossingv1.Reason_TOO_LARGE, c.addr, Name,
			fmt.Sprintf("%d connections are open", l.cfg.MaxConnections))
		_ = c.raw.Close()
		return
	}
	l.serving.Add(1)
	l.crew.Go(ctx, func() {
		c.serve(ctx)
		if c.detached == nil {
			c.over()
			return
		}
		c.goOn()
	})
}

func remoteOf(nc net.Conn) netip.AddrPort { return addrPort(nc.RemoteAddr()) }

func addrPort(addr net.Addr) netip.AddrPort {
	a, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func (l *Listener) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.cfg.MaxConnections {
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

// remove says whether the connection was there.
func (l *Listener) remove(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, there := l.conns[c]
	delete(l.conns, c)
	return there
}

// each calls f for the connections of now, without the lock.
func (l *Listener) each(f func(*conn)) {
	l.mu.Lock()
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		f(c)
	}
}

// drain ends idle connections, waits for open exchanges, and at last cancels
// their contexts and closes their connections.
func (l *Listener) drain(stop func()) {
	l.each((*conn).drain)
	done := l.served()
	limit := time.NewTimer(l.cfg.DrainTimeout)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		stop()
		l.each((*conn).stop)
	}
	<-done
}

// recheck verifies the SVIDs of live connections again whenever the bundles or
// the gateway's own SVID change: a handshake from before proves nothing then.
func (l *Listener) recheck(ctx context.Context) {
	updated, stop := l.cfg.Source.Subscribe()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-updated:
			var bad []*conn
			l.each(func(c *conn) {
				if c.distrusted() {
					bad = append(bad, c)
				}
			})
			l.cfg.Distrusted() // first, so that what stands on them ends for that reason
			for _, c := range bad {
				c.kill()
			}
		}
	}
}
