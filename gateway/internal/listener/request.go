package listener

import (
	"context"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Caller is who attached: never anonymous.
type Caller struct {
	ID      spiffeid.ID
	Attach  crossingv1.Attach
	SVID    string // "sha256:" and the hex digest of the certificate or token
	TLS     string // "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256"; "" on loopback without TLS
	Address netip.AddrPort
	// Credential is what ID was shown by, for as long as something stands on it.
	Credential Credential
}

// Credential is an SVID that was shown. Its methods do not wait.
type Credential interface {
	// Expires is when it ends.
	Expires() time.Time
	// Check says why it does not hold any more; nil while it does.
	Check() error
}

// Request is one exchange that a workload asked for. Credentials of the attach
// (a JWT-SVID, Proxy-Authorization) are no longer in its head's fields.
type Request struct {
	Caller Caller
	Head   l7.RequestHead // its Fields are only for as long as the Handler runs
	// Body is the payload, decoded from any transfer coding; after io.EOF
	// Trailers is complete. For CONNECT it is the raw stream. It is never nil.
	// Close may be called while another goroutine is in Read, which then fails;
	// after Close returned, nothing reads the connection on its behalf. Where it
	// has a method Ready, that says that all the rest can be read without waiting.
	Body     io.ReadCloser
	Trailers *l7.Fields
	// Mapped says that it came on a mapped port, where nothing but the destination is
	// said.
	Mapped bool
	// Upgrade is the protocol that the caller wants to leave HTTP for; "" for most.
	Upgrade string

	caller goer
}

// goer knows whether a caller is still there, and can send it away.
type goer interface {
	onGone(f func()) (before bool)
	cut()
}

// Cut breaks the exchange off at the caller's side, also where one waits to write to
// it. Any goroutine may call it until the Handler has returned.
func (r *Request) Cut() {
	if r.caller != nil {
		r.caller.cut()
	}
}

// OnGone makes f be called, once, when the caller leaves before its exchange is
// over, in place of what was to be called before; at once if it has left. f must
// not wait, and nil is nothing. It says whether there was one before that was not
// called, and now never will be.
func (r *Request) OnGone(f func()) (before bool) {
	if r.caller == nil {
		return f == nil // a caller of whom nothing is known stays
	}
	return r.caller.onGone(f)
}

// Response is how an exchange is answered. Its methods are called from one
// goroutine, in the order WriteHead, Write..., End; Flush anywhere between. An
// error means that the caller is gone.
type Response interface {
	// WriteHead gives the head, which may be held until Write, End or Flush, so that
	// a short answer is sent as one. With end set there is neither data nor
	// trailers, and it is sent.
	WriteHead(h *l7.ResponseHead, end bool) error
	// Flush sends a head that is held: where what follows may take its time.
	Flush() error
	// Write sends data at once; nothing is held back.
	Write(p []byte) (int, error)
	// End ends the answer with trailers, if any.
	End(trailers l7.Fields) error
	// Abort breaks the answer off so that the caller cannot take it for whole.
	Abort()
}

// Detacher is a Response that can give the connection of a CONNECT away.
type Detacher interface {
	// Detach gives the bare connection to d once the Handler has returned. It
	// says false, and does nothing, if there is no bare connection or WriteHead
	// has not accepted a CONNECT. Afterwards the Request and the Response are of
	// no use any more.
	Detach(d Detached) bool
}

// Detached goes on with a connection that was given away. It may do so for long,
// and many may: it is no closure, and has no context, so that it holds little.
type Detached interface {
	// Serve is called with the bare connection, and with what was read of it
	// already. It has a goroutine of its own, but may return early: the connection
	// is open until it calls over, or panics.
	Serve(tcp *net.TCPConn, early []byte, over func())
	// Stop makes Serve call over soon, even if it has not begun. It is called when
	// the listener must end, before the connection is broken, and never waits.
	Stop()
}

// Handler answers exchanges. When it returns, the exchange is over; it may
// return before the body was read to its end.
type Handler interface {
	ServeExchange(ctx context.Context, req *Request, resp Response)
}

// Refuser is told of failures before there was an identity.
type Refuser interface {
	// Refuse counts one. It never blocks.
	Refuse(reason crossingv1.Reason, addr netip.AddrPort, listener, detail string)
	// RefuseKnown records a request of a known caller that is not well formed. The
	// head is as far as it could be read, unchecked; nil if not at all. It gives
	// the crossing's id, "" if it could not be recorded, and who answers for it.
	RefuseKnown(caller Caller, head *l7.RequestHead, reason crossingv1.Reason, detail string) (id, owner string)
}
