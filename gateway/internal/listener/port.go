package listener

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Port is an address for programs that speak TLS and know of no proxy: whatever
// comes on a connection goes to one destination, as if the caller had asked for
// it by CONNECT. The caller must show an X509-SVID of the own trust domain.
type Port struct {
	Address string // HOST:PORT; port 0 takes any
	To      string // what a CONNECT would ask for, such as "db.azure.mesh:5432"
}

// port is a Port that is bound, or where a connection was to go that was captured.
type port struct {
	net.Listener
	to string
}

// errForeign says that an SVID is good and of another trust domain. A mapped
// port has no answer in which that could be said, so the handshake fails.
var errForeign = errors.New("not of trust domain")

func (l *Listener) bindPorts() error {
	l.portTLS = certs.ServerTLS(l.cfg.Source, l.authorizeOwn)
	for _, p := range l.cfg.Ports {
		bound, err := l.cfg.Listen(PortName, p.Address)
		if err != nil {
			return fmt.Errorf("bind the port of %s: %w", p.To, err)
		}
		l.ports = append(l.ports, &port{bound, p.To})
	}
	return nil
}

func (l *Listener) authorizeOwn(id spiffeid.ID, _ []*x509.Certificate) error {
	if td := l.cfg.Source.TrustDomain(); id.TrustDomain() != td {
		return fmt.Errorf("%s is %w %s", id, errForeign, td.Name())
	}
	return nil
}

// PortAddrs are the addresses of Config.Ports, in their order.
func (l *Listener) PortAddrs() []net.Addr {
	var addrs []net.Addr
	for _, p := range l.ports {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

func (l *Listener) newPortConn(nc net.Conn, p *port) *conn {
	return &conn{l: l, raw: nc, nc: nc, secure: true, port: p, addr: remoteOf(nc), log: l.log}
}

// place begins the detail of a refusal at a port, so that it can be told from
// one at the attach address; "" elsewhere.
func (c *conn) place() string {
	switch {
	case c.port == nil:
		return ""
	case c.captured != nil:
		return "captured on its way to " + c.port.to + ": "
	}
	return "port of " + c.port.to + ": "
}

// servePort carries the connection as one crossing.
func (c *conn) servePort(ctx context.Context) {
	caller, reason, _ := c.caller(time.Now()) // the handshake asked for an SVID
	if reason != 0 {
		c.l.cfg.Refuser.Refuse(reason, c.addr, Name, c.place()+caller.ID.String()+" may attach no more")
		c.reset()
		return
	}
	if !c.setIdle(false) { // draining
		c.reset()
		return
	}
	body, answer := &portBody{conn: c}, &portAnswer{conn: c}
	c.handle(ctx, &Request{
		Caller:   caller,
		Head:     l7.RequestHead{Method: http.MethodConnect, Authority: c.port.to},
		Body:     body,
		Mapped:   true,
		Trailers: &l7.Fields{},
		caller:   portCaller{c},
	}, answer)
	_ = body.Close()
	if !answer.ended && c.detached == nil {
		c.reset()
	}
}

// portCaller is the caller of a port. What becomes of it shows when it is read and
// written.
type portCaller struct{ *conn }

// onGone implements goer.
func (portCaller) onGone(f func()) (before bool) { return f == nil }

// cut implements goer.
func (p portCaller) cut() { p.reset() }

// portBody is what the caller says on a port. It may be silent for as long as it
// likes.
type portBody struct {
	*conn
	reading sync.Mutex // held while the connection is read
	mu      sync.Mutex // guards stopped, and the deadline against it
	stopped bool
}

var _ io.ReadCloser = (*portBody)(nil)

// Read gives io.EOF after the caller's close_notify, or the socket's end where no
// record is cut: many programs end so, and mean it.
func (b *portBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.isStopped() {
		return 0, errBodyStopped
	}
	n, err := b.nc.Read(p)
	if err != nil && b.isStopped() {
		err = errBodyStopped
	}
	return n, err
}

func (b *portBody) isStopped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stopped
}

// Close makes reading fail, now and further on, and waits until nobody reads.
func (b *portBody) Close() error {
	b.mu.Lock()
	b.stopped = true
	_ = b.nc.SetReadDeadline(time.Unix(1, 0))
	b.mu.Unlock()
	b.reading.Lock()
	defer b.reading.Unlock()
	return nil
}

// portAnswer is a Response without a head. What is said to the caller of a
// CONNECT that was refused stays unsaid, and the connection is broken.
type portAnswer struct {
	*conn
	accepted bool // a head with status 200: what follows is the caller's
	ended    bool // in order
}

var (
	_ Response = (*portAnswer)(nil)
	_ Detacher = (*portAnswer)(nil)
)

func (a *portAnswer) WriteHead(h *l7.ResponseHead, end bool) error {
	a.accepted = h.Status == http.StatusOK && !end
	return nil
}

func (a *portAnswer) Write(p []byte) (int, error) {
	if !a.accepted {
		return len(p), nil
	}
	return output{a.conn}.Write(p)
}

// End sends a close_notify. The caller may go on in its own direction.
func (a *portAnswer) End(l7.Fields) error {
	if !a.accepted {
		return nil
	}
	a.ended = true
	return output{a.conn}.CloseWrite()
}

// Abort breaks the connection without a close_notify.
func (a *portAnswer) Abort() {
	a.ended = false
	a.reset()
}

// Detach implements Detacher, for connections that were captured: the others have
// TLS.
func (a *portAnswer) Detach(d Detached) bool {
	if _, ok := a.nc.(*net.TCPConn); !ok || !a.accepted {
		return false
	}
	a.detach(d)
	return true
}

// Flush has nothing to send: no head is held.
func (a *portAnswer) Flush() error { return nil }
