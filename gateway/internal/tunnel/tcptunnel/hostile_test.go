package tcptunnel

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// script plays a peer: it sends bytes and collects the frames that come back.
type script struct {
	nc     net.Conn
	frames chan mux.Header // closed at the connection's end
	goaway mux.Reason      // readable after that
}

func play(t *testing.T, nc net.Conn) *script {
	t.Helper()
	s := &script{nc: nc, frames: make(chan mux.Header, 4096)}
	go func() {
		defer close(s.frames)
		for {
			head := make([]byte, mux.HeaderLen)
			if _, err := io.ReadFull(nc, head); err != nil {
				return
			}
			h, err := mux.ParseHeader(head)
			if err != nil {
				t.Errorf("a frame that we send: %v", err)
				return
			}
			payload := make([]byte, h.Length)
			if _, err := io.ReadFull(nc, payload); err != nil {
				return
			}
			if h.Type == mux.GoAway {
				s.goaway = mux.Reason(binary.BigEndian.Uint32(payload[4:]))
			}
			s.frames <- h
		}
	}()
	return s
}

// end waits for the connection's end and gives the reason of the GOAWAY.
func (s *script) end() mux.Reason {
	for range s.frames {
	}
	return s.goaway
}

func TestHostilePeersAreCutOffWithTheReason(t *testing.T) {
	openFrame := mux.AppendOpen(nil, 1, nil)
	tests := []struct {
		name string
		send []byte
		then func(net.Conn)
		want mux.Reason
	}{
		{name: "unknown type", send: []byte{9, 0, 0, 0, 0, 0, 0, 1}, want: mux.UnknownType},
		{name: "reserved flags", send: []byte{2, 2, 0, 0, 0, 0, 0, 1}, want: mux.ReservedFlags},
		{name: "length that a type cannot have", send: []byte{4, 0, 0, 5, 0, 0, 0, 1}, want: mux.BadLength},
		{name: "header above the limit", send: []byte{1, 0, 0xff, 0xff, 0, 0, 0, 1}, want: mux.BadLength},
		{name: "header that does not decode", send: mux.AppendOpen(nil, 1, []byte{0xff}), want: mux.BadHeader},
		{name: "data on stream 0", send: mux.AppendData(nil, 0, []byte("x"), false), want: mux.BadStream},
		{name: "data on a stream never opened", send: mux.AppendData(nil, 1, []byte("x"), false), want: mux.UnknownStream},
		{name: "wrong parity", send: mux.AppendOpen(nil, 2, nil), want: mux.BadParity},
		{name: "number used again", send: append(openFrame, openFrame...), want: mux.StreamReuse},
		{
			name: "data beyond the window",
			send: append(mux.AppendData(openFrame, 1, make([]byte, mux.MaxPayload), false), mux.AppendData(nil, 1, []byte("xx"), false)...),
			want: mux.WindowExceeded,
		},
		{name: "credit of nothing", send: mux.AppendWindow(nil, 0, 0), want: mux.BadCredit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, nc := half(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 64 << 10})
				peer := play(t, nc)
				nc.Write(tt.send)
				if got := peer.end(); got != tt.want {
					t.Errorf("GOAWAY says %q, want %q", got, tt.want)
				}
				<-c.Done()
				var fault *mux.FaultError
				if err := c.lost(); !errors.As(err, &fault) || fault.Reason != tt.want {
					t.Errorf("tunnel ended with %v, want fault %q", err, tt.want)
				}
			})
		})
	}
}

func TestTruncatedFrames(t *testing.T) {
	tests := []struct {
		name string
		send []byte
		want bool // a fault
	}{
		{"between frames", mux.AppendOpen(nil, 1, nil), false},
		{"inside a header", []byte{2, 0, 0}, true},
		{"inside a payload", mux.AppendOpen(nil, 1, make([]byte, 9))[:12], true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, nc := half(t, carrier.Limits{})
				peer := play(t, nc)
				<-peer.frames // the first PING: nothing is being written any more
				nc.Write(tt.send)
				nc.Close()
				peer.end()
				<-c.Done()
				var fault *mux.FaultError
				if got := errors.As(c.lost(), &fault) && fault.Reason == mux.Truncated; got != tt.want {
					t.Errorf("tunnel ended with %v, truncated %v, want %v", c.lost(), got, tt.want)
				}
			})
		})
	}
}

func TestStreamsBeyondTheLimitAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{Streams: 2})
		peer := play(t, nc)
		for _, id := range []uint32{1, 3, 5} {
			nc.Write(mux.AppendOpen(nil, id, nil))
		}
		for h := range peer.frames {
			if h.Type == mux.Reset {
				if h.Stream != 5 {
					t.Errorf("stream %d is refused, want 5", h.Stream)
				}
				break
			}
		}
		if n := c.Info().Streams; n != 2 {
			t.Errorf("%d streams are open, want 2", n)
		}
	})
}

func TestOpeningAndResettingWithoutEndFillsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{Streams: 8})
		peer := play(t, nc)
		for id := uint32(1); id < 2000; id += 2 {
			nc.Write(mux.AppendReset(mux.AppendOpen(nil, id, nil), id, 2))
		}
		synctest.Wait()
		c.mu.Lock()
		backlog := c.backlog.len()
		c.mu.Unlock()
		if backlog != 8 {
			t.Errorf("%d streams wait to be accepted, want 8", backlog)
		}
		nc.Close()
		peer.end()
	})
}

// TestResettingWhatNobodyReadsHoldsNoMoreThanTheWindow: a peer that resets what it has
// written gets no credit for that.
func TestResettingWhatNobodyReadsHoldsNoMoreThanTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 128 << 10})
		peer := play(t, nc)
		for id := uint32(1); id <= 5; id += 2 {
			frame := mux.AppendData(mux.AppendOpen(nil, id, nil), id, make([]byte, 60<<10), false)
			nc.Write(mux.AppendReset(frame, id, 2))
		}
		<-c.Done()
		peer.end()
		var fault *mux.FaultError
		if err := c.lost(); !errors.As(err, &fault) || fault.Reason != mux.WindowExceeded {
			t.Errorf("the tunnel ended with %v, want %q", err, mux.WindowExceeded)
		}
	})
}

func TestPeerThatPingsAndDoesNotReadIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{})
		ping := mux.AppendPing(nil, mux.Probe{Clock: time.Now()})
		go func() {
			for {
				if _, err := nc.Write(ping); err != nil {
					return
				}
			}
		}()
		<-c.Done()
		var fault *mux.FaultError
		if err := c.lost(); !errors.As(err, &fault) || fault.Reason != mux.Flood {
			t.Errorf("tunnel ended with %v, want fault %q", err, mux.Flood)
		}
		if n := cap(c.out.pending); n > 2*outHard {
			t.Errorf("%d bytes were kept for it", n)
		}
	})
}

func TestPeerThatDoesNotReadAtAllIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{})
		gone := make(chan struct{})
		go func() { // it answers nothing, but is never silent
			defer close(gone)
			for {
				if _, err := nc.Write(mux.AppendWindow(nil, 0, 1)); err != nil {
					return
				}
				pass(5 * time.Second)
			}
		}()
		begin := time.Now()
		<-c.Done()
		if d := time.Since(begin); d != writeTimeout {
			t.Errorf("given up after %s, want %s", d, writeTimeout)
		}
		<-gone
	})
}

func TestOtherTunnelsGoOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		_, nc := half(t, carrier.Limits{})
		peer := play(t, nc)
		nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		if got := peer.end(); got != mux.UnknownType {
			t.Errorf("GOAWAY says %q", got)
		}
		write(t, near, "still here")
		wantRead(t, far, "still here")
	})
}

func TestResetOfUnknownCodeIsPassedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{})
		play(t, nc)
		nc.Write(mux.AppendReset(mux.AppendOpen(nil, 1, nil), 1, 77))
		s := accept(t, c)
		_, err := s.Read(make([]byte, 1))
		wantReset(t, err, tunnel.ResetCode(77), true)
	})
}

// FuzzTunnel: whatever a peer sends, the tunnel serves or ends, without panic,
// and every stream it gave out ends with it.
func FuzzTunnel(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(mux.AppendData(mux.AppendOpen(nil, 1, nil), 1, []byte("hello"), true))
	f.Add(mux.AppendReset(mux.AppendOpen(nil, 1, nil), 1, 2))
	f.Add(mux.AppendGoAway(mux.AppendWindow(nil, 0, 9), 0, mux.Draining))
	f.Add(mux.AppendPing(mux.AppendOpen(mux.AppendOpen(nil, 1, nil), 3, nil), mux.Probe{Clock: time.Unix(9, 9)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, nc := half(t, carrier.Limits{Streams: 4, StreamWindow: 64 << 10, TunnelWindow: 64 << 10})
		go io.Copy(io.Discard, nc)
		go func() {
			nc.Write(b)
			nc.Close()
		}()
		for {
			s, err := c.Accept(t.Context())
			if err != nil {
				break
			}
			go io.Copy(s, s)
			defer func() {
				s.Reset(tunnel.Stopped)
				<-s.Done()
			}()
		}
		<-c.Done()
	})
}
