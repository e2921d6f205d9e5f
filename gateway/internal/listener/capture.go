package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/capture"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Capture is for programs that know nothing of a gateway: they connect to where a
// workload is, and the kernel hands the connection over. Its own address at this end
// is then the one that the program asked for.
type Capture struct {
	Addresses []string // HOST:PORT; port 0 takes any
	// Caller says who made a connection, as capture.Callers do.
	Caller func(net.Conn) (spiffeid.ID, error)
	// Locate says what is at an address that was asked for; as its authority the
	// address itself, if nothing is. An error says why it cannot be told, for people.
	Locate func(netip.AddrPort) (Destination, error)
}

// Destination is what a captured connection is for.
type Destination struct {
	Authority string // as a CONNECT would name it, such as "db.azure.mesh:5432"
	Bytes     bool   // what is spoken is carried as it is; else it is HTTP
}

// captured is what is known of a connection that was captured. It is the
// connection's goroutine's.
type captured struct {
	caller Caller
	at     netip.AddrPort // what the program asked for
	to     Destination    // and what is there
}

func (l *Listener) bindCapture() error {
	if l.cfg.Capture == nil {
		return nil
	}
	for _, address := range l.cfg.Capture.Addresses {
		bound, err := l.cfg.Listen(CaptureName, address)
		if err != nil {
			return fmt.Errorf("bind what captures: %w", err)
		}
		l.captures = append(l.captures, bound)
	}
	return nil
}

// CaptureAddrs are the addresses of Config.Capture, in their order.
func (l *Listener) CaptureAddrs() []net.Addr {
	var addrs []net.Addr
	for _, s := range l.captures {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

func (l *Listener) newCapturedConn(nc net.Conn) *conn {
	return &conn{l: l, raw: nc, nc: nc, port: new(port), captured: new(captured), addr: remoteOf(nc), log: l.log}
}

// serveCaptured finds out who calls whom, and carries the connection as one
// crossing, or each request of it as one.
func (c *conn) serveCaptured(ctx context.Context) {
	k, from, refuser := c.captured, c.l.cfg.Capture, c.l.cfg.Refuser
	k.at = addrPort(c.raw.LocalAddr())
	c.port.to = k.at.String()
	id, err := from.Caller(c.raw)
	if err != nil {
		refuser.Refuse(reasonOfProcess(err), c.addr, Name, c.place()+err.Error())
		c.reset()
		return
	}
	c.id, k.caller = id, Caller{ID: id, Attach: crossingv1.Attach_LOCAL, Address: c.addr}
	if k.to, err = from.Locate(k.at); err != nil {
		head := &l7.RequestHead{Method: http.MethodConnect, Authority: c.port.to}
		refuser.RefuseKnown(k.caller, head, crossingv1.Reason_UNKNOWN_DESTINATION, err.Error())
		c.reset()
		return
	}
	if c.port.to = k.to.Authority; k.to.Bytes {
		c.servePort(ctx)
		return
	}
	c.serveCleartext(ctx)
}

func reasonOfProcess(err error) crossingv1.Reason {
	if errors.Is(err, capture.ErrSeveral) {
		return crossingv1.Reason_BAD_IDENTITY
	}
	return crossingv1.Reason_NO_IDENTITY
}

// misdirected says why a request is not for where its connection was made to; ""
// if it is, and then its head names that as the policy does. What the gateway knows
// to be elsewhere, another workload's name or another address, is. Any other name is
// the program's own for the address, and counts for nothing.
func (c *conn) misdirected(h *l7.RequestHead) string {
	k := c.captured
	switch {
	case k == nil:
		return ""
	case h.Method == http.MethodConnect:
		return fmt.Sprintf("%s is asked to connect to %s, and is no proxy", k.to.Authority, h.Authority)
	case k.elsewhere(h.Authority):
		return fmt.Sprintf("%s is asked of %s, which is %s", h.Authority, k.at, k.to.Authority)
	}
	h.Authority = k.to.Authority
	return ""
}

func (k *captured) elsewhere(authority string) bool {
	host, port, err := l7.SplitAuthority(authority)
	if err != nil {
		return true
	}
	name := strings.TrimSuffix(host, ".")
	own, _, _ := strings.Cut(k.to.Authority, ":")
	if strings.EqualFold(name[max(0, len(name)-len(meshSuffix)):], meshSuffix) {
		return !strings.EqualFold(name, own) || k.otherPort(port)
	}
	a, err := netip.ParseAddr(name)
	return err == nil && (a.Unmap() != k.at.Addr() || k.otherPort(port))
}

// meshSuffix ends the names that the policy resolves.
const meshSuffix = ".mesh"

func (k *captured) otherPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port != "" && (err != nil || uint16(n) != k.at.Port())
}

// refuseTLS records a caller that speaks TLS to a service of HTTP.
func (c *conn) refuseTLS() {
	head := &l7.RequestHead{Method: http.MethodConnect, Authority: c.captured.to.Authority}
	c.l.cfg.Refuser.RefuseKnown(c.captured.caller, head, crossingv1.Reason_MALFORMED,
		"the caller speaks TLS, in which a gateway cannot see HTTP: the service is not tls://")
	c.reset()
}

// speaksTLS says that what a caller has begun with is a TLS handshake record (RFC
// 8446 5.1).
func (c *h1) speaksTLS() bool {
	const handshake = 22
	start, _ := c.br.Peek(1)
	return len(start) == 1 && start[0] == handshake
}

// misdirectedError is what a request is refused with that is not for where its
// connection was made to (RFC 9110 15.5.20).
func misdirectedError(detail string) *http1.Error {
	return &http1.Error{Status: http.StatusMisdirectedRequest, Reason: crossingv1.Reason_MALFORMED, Detail: detail}
}
