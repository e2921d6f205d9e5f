package http2

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Task is done once. It is no function, which would have to be made for each task.
type Task interface{ Do() }

// Config says what one end of a connection allows. The zero value works: what is
// zero has its default.
type Config struct {
	// Secure says that the connection is TLS: its scheme is https, else http.
	Secure bool
	// Go does a task in a goroutine. Default: the go statement.
	Go func(t Task)
	// Fault is told what the peer did wrong that is not in a request given to
	// Refuse or to a stream's reader. It is called from Run, at most as Faults
	// allows; while it waits, nothing is read. Details are of numbers and names of the protocol,
	// and quote nothing. Default: nobody is told.
	Fault func(reason crossingv1.Reason, detail string)
	// Changed is told, from Run, when SETTINGS or GOAWAY of the peer may have changed
	// what Open does: for the first time when its first SETTINGS have come. It must
	// not wait. A client only. Default: nobody is told.
	Changed func()
	// Refuse is told of a request whose head is not well formed or too large, and
	// gives the answer. The head is as far as it could be read, unchecked. It is called
	// in a goroutine of the stream and may wait. Default: the stream is reset, and
	// Fault told.
	Refuse func(head *l7.RequestHead, r fieldblock.Refusal) (*l7.ResponseHead, []byte)

	// MaxStreams that the peer may have open at one time. Default 250. Twice as many
	// may still be served where streams were reset.
	MaxStreams uint32
	// MaxHead of a head or of trailers in bytes, decoded, with 32 for each field
	// (RFC 9113 10.5.1). Beyond it a head is refused, beyond twice that the
	// connection ends. Default l7.MaxHeadBytes.
	MaxHead int
	// MaxFields of a head or of trailers. Default l7.MaxFields.
	MaxFields int
	// MaxContinuations is the number of CONTINUATION frames of one head. Default 16:
	// twice what the longest head takes in frames of the usual length.
	MaxContinuations int
	// StreamWindow and ConnWindow are what may be received and not read yet, in
	// bytes, on a stream and on all together; the latter bounds the memory of a
	// connection, and is at least 65,535. Default for a server 256 KiB and 1 MiB, for
	// a client 1 MiB and 4 MiB: answers are longer than requests, and a destination is
	// in its gateway's network, where 1 MiB in a round trip of a millisecond is
	// 1 GB/s. More would only fill with what the tunnel cannot take.
	StreamWindow, ConnWindow uint32

	// Resets bounds the streams that the peer resets, or makes this end reset or
	// refuse. Each stream that ends in order gives one back. A server only. Default
	// 200, and 20 a second.
	Resets Budget
	// Chatter bounds the frames that carry nothing: PING, SETTINGS, PRIORITY, empty
	// DATA, WINDOW_UPDATE, RST_STREAM of what is closed, unknown ones. Each frame of
	// a head or of data, either way, gives a few back. Default 2,000, and 200 a
	// second.
	Chatter Budget
	// Faults bounds the calls of Fault, but for the one that says why a connection
	// had to end. Default 10, and one a second.
	Faults Budget

	// HeadTimeout for the preface and SETTINGS, and for a head whose CONTINUATION
	// has not come. Default 10 s.
	HeadTimeout time.Duration
	// IdleTimeout without an open stream, after which a server drains and a client
	// closes the connection. Default 120 s.
	IdleTimeout time.Duration
	// PingAfter is the silence after which the peer is pinged, by a client only while
	// streams are open, and PingTimeout that after which it counts as gone then.
	// Default 30 s and 15 s; for a client 310 s, for servers of gRPC end connections
	// that are pinged more often than every five minutes
	// (grpc/doc/keepalive.md, GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS).
	PingAfter, PingTimeout time.Duration
	// WriteTimeout is how long the peer may take none of the connection's bytes, after
	// which it is gone. Default: IdleTimeout.
	WriteTimeout time.Duration
	// StallTimeout is how long the peer may take nothing of a stream's data for want of
	// window, after which the stream is reset. Default: WriteTimeout.
	StallTimeout time.Duration
}

func (c *Config) setDefaults(server bool) {
	stream, conn, silence := uint32(1<<20), uint32(4<<20), 310*time.Second
	if server {
		stream, conn, silence = 256<<10, 1<<20, 30*time.Second
	}
	or(&c.MaxStreams, 250)
	or(&c.MaxHead, l7.MaxHeadBytes)
	or(&c.MaxFields, l7.MaxFields)
	or(&c.MaxContinuations, 16)
	or(&c.StreamWindow, stream)
	or(&c.ConnWindow, conn)
	c.ConnWindow = max(c.ConnWindow, firstWindow)
	or(&c.Resets, Budget{200, 20})
	or(&c.Chatter, Budget{2000, 200})
	or(&c.Faults, Budget{10, 1})
	or(&c.HeadTimeout, 10*time.Second)
	or(&c.IdleTimeout, 120*time.Second)
	or(&c.PingAfter, silence)
	or(&c.PingTimeout, 15*time.Second)
	or(&c.WriteTimeout, c.IdleTimeout)
	or(&c.StallTimeout, c.WriteTimeout)
	if c.Go == nil {
		c.Go = func(t Task) { go t.Do() }
	}
	if c.Changed == nil || server {
		c.Changed = func() {}
	}
	if c.Fault == nil {
		c.Fault = func(crossingv1.Reason, string) {}
	}
}

func or[T comparable](set *T, value T) {
	var zero T
	if *set == zero {
		*set = value
	}
}
