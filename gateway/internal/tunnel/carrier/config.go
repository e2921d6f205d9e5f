// Package carrier is what the carriers of tunnels share: how they are
// configured, what a peer's identity must be, and who watches over it once the
// handshake is done. Of the wire it knows the crossing's header alone.
package carrier

import (
	"errors"
	"net/netip"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Config of a carrier's Dialer or Listener.
type Config struct {
	// Source is this gateway's SVID and the bundles to check peers with. Required.
	Source *certs.Source
	// Authorize says whether an ID, which was verified, is a gateway that may be
	// this one's peer. It is asked in each handshake, and again when bundles
	// change. Nil lets nobody in.
	Authorize func(id spiffeid.ID) error
	// Refuse is told of each peer that was refused, its address and, for people,
	// why. It must not block. May be nil.
	Refuse func(reason crossingv1.Reason, addr netip.AddrPort, detail string)
	// ResetKey is QUIC's key of stateless resets (RFC 9000, section 10.3): one that
	// stays lets a gateway, once it runs again after a crash, end the connections of
	// the run before. If zero, a key of this run's own.
	ResetKey [32]byte
	// Generation of this process, which tells it from others of the same gateway that
	// run beside it.
	Generation uint16
	// Log may be nil.
	Log *zap.Logger
	// Limits; the zero value is fit for use.
	Limits Limits
}

// Limits of tunnels. A field that is 0 has its default.
type Limits struct {
	// Streams that a peer may have open in one tunnel. Default 10,000.
	Streams uint32
	// StreamWindow is the bytes that a stream may send ahead of its reader.
	// Default 256 KiB.
	StreamWindow uint32
	// TunnelWindow is the bytes that all streams of a tunnel may send ahead of
	// their readers: the most that a tunnel's unread data takes. Streams that
	// nobody reads hold up others once they fill it. Default 64 MiB.
	TunnelWindow uint32
	// HandshakeTimeout of TLS and preface together. Default 10 s.
	HandshakeTimeout time.Duration
	// Handshakes that a Listener does at a time; more wait. Default 128.
	Handshakes int
	// LargestWindow is what StreamWindow may grow to while a stream could use
	// more than it has. Default 16 MiB.
	LargestWindow uint32
	// PingInterval is the time between two PINGs of a tunnel that nothing has
	// used for a while. Default 5 s.
	PingInterval time.Duration
}

// WithDefaults gives each field that is 0 its default.
func (l Limits) WithDefaults() Limits {
	return Limits{
		Streams:          or(l.Streams, 10_000),
		StreamWindow:     or(l.StreamWindow, 256<<10),
		TunnelWindow:     or(l.TunnelWindow, 64<<20),
		HandshakeTimeout: or(l.HandshakeTimeout, 10*time.Second),
		Handshakes:       or(l.Handshakes, 128),
		LargestWindow:    or(l.LargestWindow, 16<<20),
		PingInterval:     or(l.PingInterval, 5*time.Second),
	}
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// WithDefaults makes all optional fields usable.
func (c Config) WithDefaults() Config {
	c.Limits = c.Limits.WithDefaults()
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Refuse == nil {
		c.Refuse = func(crossingv1.Reason, netip.AddrPort, string) {}
	}
	if c.Authorize == nil {
		c.Authorize = func(spiffeid.ID) error { return errors.New("this gateway takes no peers") }
	}
	return c
}
