package exchange

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/clienthello"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// helloTimeout bounds the wait for a caller's ClientHello once its CONNECT was
	// accepted.
	helloTimeout = 10 * time.Second
	// helloTransit is how much longer the ingress gateway waits, so that it is the
	// egress gateway that says what the caller did.
	helloTransit = 10 * time.Second
)

// helloError says how a byte stream of TLS began, if not as one.
type helloError string

func (e helloError) Error() string { return string(e) }

const errNoHello = helloError("no ClientHello came in time")

// passesTLS says that a byte stream must begin with a ClientHello for its
// destination. Each gateway reads it for itself.
func passesTLS(v *authz.Verdict) bool { return v.Service.Protocol == policy.TLS }

// readHello reads the ClientHello of a byte stream, and holds that it is for the
// destination. It gives its bytes, to be handed on. An error is a helloError or the
// reader's.
func readHello(r io.Reader, v *authz.Verdict) ([]byte, error) {
	raw, server, err := clienthello.Read(r)
	switch {
	case errors.Is(err, clienthello.Err):
		return nil, helloError(err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errNoHello
	case err != nil:
		return nil, err
	case server == "":
		return nil, helloError("the ClientHello names no server, want " + v.Workload.Host())
	case !v.Workload.Serves(v.Service, server):
		return nil, helloError("the ClientHello is for " + server + ", want " + v.Workload.Host())
	}
	return raw, nil
}

// misbegun is why a crossing ends whose hello was not read: what came was none,
// or else the cause that the reader's failing has.
func (a *account) misbegun(err error, otherwise crossingv1.Cause) (crossingv1.Cause, crossingv1.Reason) {
	if bad, ok := errors.AsType[helloError](err); ok {
		a.close.Detail = crossing.Detail(string(bad))
		return crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED
	}
	return otherwise, crossingv1.Reason_REASON_UNSPECIFIED
}

// relayTLS relays a byte stream once it has begun as one of TLS. The caller, whose
// CONNECT was accepted, speaks first.
func (d *departure) relayTLS(v *authz.Verdict) {
	l := leaving{d.account}
	if r, ok := d.resp.(listener.Detacher); ok && r.Detach(&greeting{l, *v}) {
		d.goOn()
		return
	}
	body, closed := d.req.Body, make(chan struct{})
	late := time.AfterFunc(helloTimeout, func() { defer close(closed); body.Close() })
	hello, err := readHello(body, v)
	if !late.Stop() {
		<-closed // for the next request may use the same body
		err = errNoHello
	}
	cause, reason := l.misbegun(err, crossingv1.Cause_CALLER_GONE)
	if err == nil {
		if _, err = d.stream.Write(hello); err == nil {
			d.count.Sent.Add(uint64(len(hello)))
			d.flow.Passed(uint64(len(hello)))
			d.relayRest(l)
			return
		}
		cause = lost(err)
	}
	l.end(cause, reason)
	d.resp.Abort()
}

// greeting is a byte stream of TLS on its way out whose ClientHello is read from
// the caller's bare connection.
type greeting struct {
	leaving
	verdict authz.Verdict
}

var _ listener.Detached = (*greeting)(nil)

// Serve implements listener.Detached.
func (g *greeting) Serve(tcp *net.TCPConn, early []byte, over func()) {
	tcp.SetReadDeadline(time.Now().Add(helloTimeout)) //nolint:errcheck // a connection that is closed has nobody who waits
	said := bytes.NewReader(early)
	hello, err := readHello(io.MultiReader(said, tcp), &g.verdict)
	if err != nil {
		cause, reason := g.misbegun(err, crossingv1.Cause_CALLER_GONE)
		g.leave(tcp, cause, reason)
		over()
		return
	}
	tcp.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	g.leaving.Serve(tcp, append(hello, early[len(early)-said.Len():]...), over)
}

// greeted hands the ClientHello of a byte stream of TLS on to the destination. It
// is read here again: an ingress gateway takes nobody's word for it.
func (a *arriving) greeted(v *authz.Verdict) (crossingv1.Cause, crossingv1.Reason) {
	late := time.AfterFunc(helloTimeout+helloTransit, func() { a.stream.Reset(tunnel.ProtocolError) })
	hello, err := readHello(a.stream, v)
	late.Stop()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = helloError("the stream ended before its ClientHello")
	}
	if err != nil {
		cause, reason := a.misbegun(err, a.lost(err))
		a.stream.Reset(tunnel.ProtocolError) // nothing, if it was reset
		return cause, reason
	}
	a.nc.SetWriteDeadline(time.Now().Add(helloTimeout)) //nolint:errcheck // its Write says so too
	if _, err := a.nc.Write(hello); err != nil {
		a.stream.Reset(tunnel.DestinationGone)
		return crossingv1.Cause_DESTINATION_FAILED, crossingv1.Reason_REASON_UNSPECIFIED
	}
	a.nc.SetWriteDeadline(time.Time{}) //nolint:errcheck // as above
	a.count.Received.Add(uint64(len(hello)))
	a.flow.Passed(uint64(len(hello)))
	return crossingv1.Cause_DONE, crossingv1.Reason_REASON_UNSPECIFIED
}

// lost says why the stream ended early, if not because this gateway stops.
func (a *arriving) lost(err error) crossingv1.Cause {
	if a.running.Err() != nil {
		return crossingv1.Cause_GATEWAY_STOPPED
	}
	return lost(err)
}
