// Package tunnel says what a tunnel is: an authenticated path between two
// gateways that carries streams, one for each crossing. Carriers implement it
// side by side, in folders of their own; nothing outside them knows which
// carrier a stream is on except by asking. An invariant holds for all: a
// tunnel's peer is a SPIFFE ID that was verified in this very handshake.
package tunnel

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Stream is one crossing inside a tunnel: bytes both ways, each way with an
// end of its own. Read gives io.EOF after the peer's CloseWrite and a
// *ResetError after a reset or the tunnel's loss. What the peer wrote before it
// reset the stream is read first, unless the code says AtOnce. One goroutine may
// read while another writes.
type Stream interface {
	io.Reader
	io.Writer
	// Header is what the egress gateway said of the crossing; nil where the stream
	// was opened.
	Header() *crossingv1.Header
	// CloseWrite ends this end's direction; the other goes on.
	CloseWrite() error
	// Reset ends both directions now and tells the peer why. What is unread here is
	// lost, also of a stream that the peer has reset; what was written here still goes
	// to the peer, as far as it reads. After both directions have ended Reset does
	// nothing else.
	Reset(code ResetCode)
	// Done is closed when the stream was reset, at either end or by the
	// tunnel's loss, or when both directions have ended: so that one end may
	// stop what it does for the stream without reading or writing it. Where this
	// end's direction has ended, it may be closed only when the rest of the
	// peer's was read.
	Done() <-chan struct{}
}

// Finisher is a Stream that can say its last bytes and its end as one.
type Finisher interface {
	Stream
	// Finish is Write and, unless that fails, CloseWrite.
	Finish(p []byte) (int, error)
}

// Releaser is a Stream whose memory can be used again.
type Releaser interface {
	Stream
	// Release says that nobody uses the stream any more. It does nothing to one that
	// has not ended in order, both ways.
	Release()
}

// Release lets a stream's memory be used again, where that can be. Nobody may use
// the stream any more.
func Release(s Stream) {
	if r, ok := s.(Releaser); ok {
		r.Release()
	}
}

// Finish writes p as the last of a stream's direction.
func Finish(s Stream, p []byte) (int, error) {
	if f, ok := s.(Finisher); ok {
		return f.Finish(p)
	}
	n, err := s.Write(p)
	if err != nil {
		return n, err
	}
	return n, s.CloseWrite()
}

// Waiter waits for a stream's end. It is no function, which would have to be made
// for each stream.
type Waiter interface {
	// StreamDone is called once, in a goroutine of its own, when Done is closed.
	StreamDone()
}

// Notifier is a Stream that can call somebody when it is done.
type Notifier interface {
	Stream
	// OnDone makes w wait for the stream's end in the place of who waited before,
	// nil for nobody. It says whether there was one, who is not called any more.
	OnDone(w Waiter) (before bool)
}

// Watch is a Waiter that waits for a stream's end.
type Watch struct {
	stream  Notifier
	stopped chan struct{} // who waits there for a stream that is no Notifier
}

// OnDone makes w wait for a stream's end until the watch is stopped.
func OnDone(s Stream, w Waiter) Watch {
	if n, ok := s.(Notifier); ok {
		n.OnDone(w)
		return Watch{stream: n}
	}
	stopped := make(chan struct{}, 1)
	go func() {
		select {
		case <-s.Done():
			w.StreamDone()
		case <-stopped:
		}
	}()
	return Watch{stopped: stopped}
}

// Stop ends the watch, once; again it does nothing. It says whether it is certain
// that w was not called and never will be.
func (w *Watch) Stop() bool {
	n, stopped := w.stream, w.stopped
	*w = Watch{}
	switch {
	case n != nil:
		return n.OnDone(nil)
	case stopped != nil:
		stopped <- struct{}{} // there is room
	}
	return false
}

// Relayer is a Stream that can relay a local connection by itself, with fewer
// copies and wake-ups than Read and Write take. Package relay does the same for
// streams that cannot.
type Relayer interface {
	Stream
	// Relay carries bytes both ways between the stream and the local connection,
	// each way with an end of its own, until both directions have ended or one
	// of the two has failed. If the local connection fails, the stream is reset
	// with code. Relay returns at once, for many relays may be idle for long, and
	// done is called at the end. Until then nobody else may read or write either
	// of them; who closes the connection resets the stream first. Deadlines of the
	// connection are lost; closing it is left to done. Header gives nothing any
	// more. What goes through is added to count: when done is called, all of it.
	Relay(local *net.TCPConn, code ResetCode, count *Count, done func(Relayed))
}

// Relayed is how a relay has ended: in order if neither has failed.
type Relayed struct {
	Local  error // why the local connection failed, if it did first
	Stream error // why the stream did
}

// Count is how much has gone through a stream so far, in bytes of content. One
// goroutine adds to either; anybody may read them at any time.
type Count struct {
	Sent     atomic.Uint64 // into the stream
	Received atomic.Uint64 // out of the stream, and taken by whom it is for
}

// Interruptible is a Stream whose Write need not wait for room in the tunnel.
type Interruptible interface {
	Stream
	// Interrupt makes a Write that waits return with what it has written and
	// ErrInterrupted, and each further one as soon as it would wait, until Resume.
	Interrupt()
	// Resume lets Write wait again.
	Resume()
}

// Buffered is a Stream that can tell what has come.
type Buffered interface {
	Stream
	// Buffered is how many bytes Read gives without waiting.
	Buffered() int
}

// Tunnel is an authenticated path to one peer gateway. All methods may be
// called concurrently.
type Tunnel interface {
	// Open opens a stream with the crossing's header, of which it keeps nothing. It
	// fails with ErrDraining once the peer said that it is going away, or the tunnel
	// has ended, and with another error when the tunnel is lost meanwhile.
	Open(ctx context.Context, h *crossingv1.Header) (Stream, error)
	// Accept waits for a stream that the peer opens.
	Accept(ctx context.Context) (Stream, error)
	// Info is what is known of the tunnel now.
	Info() Info
	// Drain tells the peer to open no more streams here and returns when those
	// that are open have ended, or with the context's error.
	Drain(ctx context.Context) error
	// Done is closed when the tunnel is lost or closed.
	Done() <-chan struct{}
	// Close ends the tunnel and resets its streams with code TunnelClosed.
	Close() error
}

// Retirer is a Tunnel that can turn the peer's streams away and still open its
// own.
type Retirer interface {
	Tunnel
	// Retire tells the peer to open no more streams here. Those that are open go
	// on, and this end may open more until it drains the tunnel.
	Retire()
}

// Class of traffic. Streams of different classes never share a connection: bulk
// fills queues that interactive traffic would have to wait in.
type Class uint8

// The classes. Numbers are part of the wire format.
const (
	Interactive Class = 0 // latency counts: calls, tokens, messages
	Bulk        Class = 1 // throughput counts: models, images, data sets
)

// String is the class's name in records and metrics.
func (c Class) String() string {
	if c == Bulk {
		return "bulk"
	}
	return "interactive"
}

// Info describes a tunnel.
type Info struct {
	Peer        spiffeid.ID       // the other gateway
	Certificate *x509.Certificate // its SVID's leaf as verified in the handshake
	Carrier     string            // "TCP" or "QUIC"
	Class       Class             // of its streams; an interactive one is bulk while a stream of it is
	Choice      Choice            // why Pick gave this one; 0 elsewhere
	Dialed      bool              // this end dialled
	TLS         string            // version, group and cipher, such as "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256"
	Streams     int               // open now
	Since       time.Time
	RoundTrip   time.Duration // as last measured; 0 if not yet
	Loss        float64       // share of packets that were sent and lost lately, 0 to 1; 0 if not measured
	Silent      time.Duration // how long the peer has owed an answer to a PING, with nothing else heard; 0 if it owes none
	ClockOffset time.Duration // to add to our clock to get the peer's, give or take RoundTrip/2; 0 if not yet measured
	Draining    bool          // this end opens no more streams: the peer takes none, or it drains
	Generation  uint16        // of the peer's process: those that run side by side differ
}
