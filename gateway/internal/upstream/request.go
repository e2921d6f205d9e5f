package upstream

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// errCancelled is why a request failed that was cancelled.
var errCancelled = errors.New("the request was cancelled")

// Content is what a request has beside its head. One goroutine uses it at a time.
type Content interface {
	// Read gives io.EOF at the request's right end, and then Trailers is complete.
	io.Reader
	// Ready says that all the rest can be read without waiting for it.
	Ready() bool
	Trailers() l7.Fields
}

// Request is what is asked of a destination. It is for one RoundTrip, until Reset.
type Request struct {
	Head *l7.RequestHead // "te: trailers" is added to a gRPC call's
	Body Content         // nil if the request ended with its head
	// Retry says that the request may be asked again where its connection turns
	// out to be closed without a byte of an answer, though the destination may
	// have had it: who decides has said that twice is as good as once. Only
	// requests without content and by a safe method are. Without it a request is
	// asked again only if not a byte of it was sent.
	Retry bool

	transport transport
	call      *call   // in HTTP/1.1
	h2        *h2Call // in HTTP/2
	tries     int
	resp      *Response
	sending   sync.WaitGroup // what uses Body
	lent      bool           // somebody may still cut what goes on for it

	mu        sync.Mutex // guards what follows
	cancelled bool
	at        cutter // what Cancel cuts, nil if nothing goes on
}

// cutter is what goes on for a request and can be ended from outside.
type cutter interface{ cut() }

// cancelFunc is a context's as a cutter.
type cancelFunc context.CancelFunc

func (f cancelFunc) cut() { f() }

// Cancel makes RoundTrip and reading the answer fail at once, wherever they are,
// now and further on. Any goroutine may call it, at any time.
func (r *Request) Cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancelled = true
	if r.at != nil {
		r.at.cut()
	}
}

// Tries is how many connections were tried for it, after an error of RoundTrip.
func (r *Request) Tries() int { return r.tries }

// Wait waits until nobody uses Body any more, after the answer's Close or the
// error of RoundTrip: reading it cannot be interrupted from here.
func (r *Request) Wait() { r.sending.Wait() }

// Reset makes the request empty, for another RoundTrip. It is called after Wait,
// when Cancel is not called any more. It says false, and does nothing, if somebody
// may still use the request; then nobody else may.
func (r *Request) Reset() bool {
	if r.lent {
		return false
	}
	*r = Request{}
	return true
}

// goOn says what goes on for the request from here, nil for nothing. It fails if
// the request was cancelled.
func (r *Request) goOn(at cutter) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancelled && at != nil {
		return errCancelled
	}
	r.at = at
	return nil
}

// cutNow cuts what goes on, if anything does.
func (r *Request) cutNow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at != nil {
		r.at.cut()
	}
}

// free keeps the memory of a request that has failed for another one.
func (r *Request) free() {
	if r.call != nil {
		r.call.free()
	}
	if r.h2 != nil {
		r.h2.free()
	}
}

func (r *Request) isCancelled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cancelled
}

// try asks at one endpoint. It implements attempt.
func (r *Request) try(ctx context.Context, addr string, share time.Duration) (err error) {
	r.tries++
	r.resp, err = r.transport.ask(ctx, addr, share, r)
	if err != nil && r.isCancelled() {
		return errCancelled
	}
	return err
}

// Response is a destination's answer. Body must be closed, and Head is only good
// until then.
type Response struct {
	Head  l7.ResponseHead
	Body  Answer
	Ended bool // the head was all of it
	Peer  *crossingv1.Peer
	Tries int // connections that were tried for it, this one too
	// Credential is what the destination has shown, for as long as something stands
	// on it; nil in plaintext.
	Credential Credential
}

// Credential is an SVID that was shown. Its methods do not wait.
type Credential interface {
	// Expires is when it ends.
	Expires() time.Time
	// Check says why it does not hold any more; nil while it does.
	Check() error
}

// Answer is the content of an answer.
type Answer interface {
	// Read gives io.EOF at the answer's right end, and then Trailers is complete.
	// Close ends what is still being sent of the request; it does not wait for it.
	io.ReadCloser
	Trailers() l7.Fields
	// Ready says that all the rest can be read without waiting for it.
	Ready() bool
}

// transport asks workloads of one identity in one version of HTTP. It is what
// stands between the choice of an endpoint and the protocol.
type transport interface {
	// ask asks at one endpoint, to be reached within share. An error that wraps
	// *unreached says that nothing was sent, and that nothing of Body is lost to
	// another call of ask.
	ask(ctx context.Context, addr string, share time.Duration, r *Request) (*Response, error)
	// closeIdle closes connections that carry nothing. With old set none of those
	// that there are carries anything further.
	closeIdle(old bool)
}
