package quictunnel

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// script is a peer that the test plays itself, after a good handshake.
type script struct {
	qc      *quic.Conn
	control *quic.Stream
}

// play is a tunnel whose dialler is played, in a bubble.
func play(t testing.TB, limits carrier.Limits) (*conn, *script, <-chan refusal) {
	t.Helper()
	v := newVirtual(t)
	near, far := configs(t, limits)
	told := refusals(&far)
	l := v.listen(far)
	h := &handshake{cfg: &near, role: mux.Dialler, want: far.Source.ID()}
	tr := &quic.Transport{Conn: v.socket()}
	qc, err := tr.Dial(t.Context(), l.Addr(), h.tls(), &quic.Config{MaxIncomingStreams: 1 << 16, KeepAlivePeriod: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	control, err := h.exchange(t.Context(), qc)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		qc.CloseWithError(0, "")
		accepted.Close()
		tr.Close()
	})
	return accepted.(*conn), &script{qc, control}, told
}

func (s *script) open(t testing.TB, bytes []byte) *quic.Stream {
	t.Helper()
	qs, err := s.qc.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	qs.Write(bytes)
	return qs
}

func TestHostilePeersAreCutOffWithTheReason(t *testing.T) {
	say := func(b []byte) func(testing.TB, *script) {
		return func(_ testing.TB, s *script) { s.control.Write(b) }
	}
	open := func(b ...byte) func(testing.TB, *script) {
		return func(t testing.TB, s *script) { s.open(t, b).Close() }
	}
	tests := []struct {
		name string
		do   func(testing.TB, *script)
		want mux.Reason
	}{
		{"unknown frame", say([]byte{9, 0, 0, 0, 0, 0, 0, 0}), mux.UnknownType},
		{"frame that QUIC has itself", say(mux.AppendData(nil, 1, []byte("x"), false)), mux.UnknownType},
		{"reserved flags", say([]byte{5, 1, 0, 16, 0, 0, 0, 0}), mux.ReservedFlags},
		{"length that a frame cannot have", say([]byte{5, 0, 0, 15, 0, 0, 0, 0}), mux.BadLength},
		{"ping on a stream", say([]byte{5, 0, 0, 16, 0, 0, 0, 1}), mux.BadStream},
		{"control stream ended", func(_ testing.TB, s *script) { s.control.Close() }, mux.Truncated},
		{"control stream ended inside a frame", func(_ testing.TB, s *script) {
			s.control.Write([]byte{5, 0, 0})
			s.control.Close()
		}, mux.Truncated},
		{"control stream reset", func(_ testing.TB, s *script) { s.control.CancelWrite(7) }, mux.BadStream},
		{"goaway that forgets streams", func(t testing.TB, s *script) {
			s.open(t, []byte{0, 0})
			tunneltest.Pass(time.Second)
			s.control.Write(mux.AppendGoAway(nil, 0, mux.Draining))
		}, mux.BadGoAway},
		{"goaway that changes its mind", say(mux.AppendGoAway(mux.AppendGoAway(nil, 1, mux.Draining), 2, mux.Draining)), mux.BadGoAway},
		{"header above the limit", open(0x40, 0x01), mux.BadLength},
		{"header that does not decode", open(0, 1, 0xff), mux.BadHeader},
		{"header cut off", open(0, 5, 0x0a), mux.Truncated},
		{"no header at all", open(), mux.Truncated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, peer, told := play(t, carrier.Limits{})
				tt.do(t, peer)
				<-c.Done()
				<-peer.qc.Context().Done()
				var app *quic.ApplicationError
				if _, err := peer.qc.AcceptStream(t.Context()); !errors.As(err, &app) || mux.Reason(app.ErrorCode) != tt.want {
					t.Errorf("the peer was told %v, want %q", err, tt.want)
				}
				var fault *mux.FaultError
				if err := c.lost(); !errors.As(err, &fault) || fault.Reason != tt.want {
					t.Errorf("tunnel ended with %v, want fault %q", err, tt.want)
				}
				if r := <-told; r.reason != crossingv1.Reason_MALFORMED {
					t.Errorf("Refuse was told %+v", r)
				}
			})
		})
	}
}

// TestFaultsOfQUICAreThePeers: what the library finds is told as well.
func TestFaultsOfQUICAreThePeers(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want bool
	}{
		{"streams above the limit", &quic.TransportError{ErrorCode: quic.StreamLimitError}, true},
		{"more data than credit", &quic.TransportError{ErrorCode: quic.FlowControlError}, true},
		{"no protocol of ours", &quic.TransportError{ErrorCode: cryptoError + 120}, true},
		{"so it says of us", &quic.TransportError{ErrorCode: quic.ProtocolViolation, Remote: true}, false},
		{"no certificate", &quic.TransportError{ErrorCode: cryptoError + 116}, false},
		{"our own fault", &quic.TransportError{ErrorCode: quic.InternalError}, false},
		{"lost", &quic.IdleTimeoutError{}, false},
	}
	for _, tt := range tests {
		if got := brokeQUIC(tt.err); got != tt.want {
			t.Errorf("%s: brokeQUIC is %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestUnidirectionalStreamsAreRefused: there are none in this protocol.
func TestUnidirectionalStreamsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, peer, _ := play(t, carrier.Limits{})
		if _, err := peer.qc.OpenUniStream(); err == nil {
			t.Error("the peer may open a unidirectional stream")
		}
	})
}

func TestOpeningAndResettingWithoutEndFillsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, _ := play(t, carrier.Limits{Streams: 8})
		for range 200 {
			qs, err := peer.qc.OpenStreamSync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			qs.Write([]byte{0, 0})
			tunneltest.Pass(30 * time.Millisecond) // the header arrives
			qs.CancelWrite(2)
			qs.CancelRead(2)
		}
		tunneltest.Pass(time.Second)
		c.mu.Lock()
		backlog, open := len(c.backlog), len(c.streams)
		c.mu.Unlock()
		if backlog != 8 || open != 0 {
			t.Errorf("%d streams wait to be accepted, %d are open, want 8 and 0", backlog, open)
		}
	})
}

// TestStopBeforeTheStreamIsTaken: a peer that opens a stream and wants nothing of
// it in one packet. What the stop ends is not there yet when it comes.
func TestStopBeforeTheStreamIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, _ := play(t, carrier.Limits{})
		for range 50 {
			qs := peer.open(t, []byte{0, 0})
			qs.CancelRead(2)
			qs.CancelWrite(2)
		}
		tunneltest.Pass(time.Second)
		if n := c.Info().Streams; n != 0 {
			t.Errorf("%d streams are open, want none", n)
		}
	})
}

func TestSlowHeadersHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, _ := play(t, carrier.Limits{})
		for range 50 {
			peer.open(t, []byte{0})
		}
		peer.open(t, []byte{0, 0})
		tunneltest.Accept(t, c)
		if n := c.Info().Streams; n != 51 {
			t.Errorf("%d streams are open, want 51", n)
		}
	})
}

func TestUnreadDataIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, _ := play(t, carrier.Limits{TunnelWindow: 256 << 10})
		for range 4 {
			qs := peer.open(t, []byte{0, 0})
			go qs.Write(make([]byte, 1<<20))
		}
		before := peer.qc.ConnectionStats().BytesSent
		tunneltest.Pass(10 * time.Second)
		if sent := peer.qc.ConnectionStats().BytesSent - before; sent > 300<<10 {
			t.Errorf("%d bytes were taken for nobody", sent)
		}
		// Streams that end unread give the tunnel's window back.
		for range 4 {
			tunneltest.Accept(t, c).Reset(tunnel.Refused)
		}
		qs := peer.open(t, []byte{0, 0})
		go func() {
			qs.Write(make([]byte, 1<<20))
			qs.Close()
		}()
		if got, err := io.Copy(io.Discard, tunneltest.Accept(t, c)); got != 1<<20 || err != nil {
			t.Errorf("after the resets: %d bytes, %v", got, err)
		}
	})
}

func TestPeerThatPingsAndDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, told := play(t, carrier.Limits{})
		pings := make([]byte, 0, 24*1000)
		for range 1000 {
			pings = mux.AppendPing(pings, mux.Probe{Clock: time.Now()})
		}
		go func() {
			for {
				if _, err := peer.control.Write(pings); err != nil {
					return
				}
			}
		}()
		<-c.Done()
		var fault *mux.FaultError
		if err := c.lost(); !errors.As(err, &fault) || fault.Reason != mux.Flood {
			t.Errorf("tunnel ended with %v, want fault %q", err, mux.Flood)
		}
		if r := <-told; r.reason != crossingv1.Reason_MALFORMED {
			t.Errorf("Refuse was told %+v", r)
		}
	})
}

// TestResetOfHalf: a peer that resets one half only, as no gateway of ours does.
func TestResetOfHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, _ := play(t, carrier.Limits{})
		for _, half := range []func(*quic.Stream){
			func(qs *quic.Stream) { qs.CancelWrite(3) },
			func(qs *quic.Stream) { qs.CancelRead(3) },
			func(qs *quic.Stream) { qs.CancelWrite(1 << 40); qs.CancelRead(1 << 40) },
		} {
			qs := peer.open(t, []byte{0, 0})
			s := tunneltest.Accept(t, c)
			half(qs)
			<-s.Done()
			_, err := s.Write([]byte("x"))
			var reset *tunnel.ResetError
			if !errors.As(err, &reset) || !reset.Remote {
				t.Errorf("Write: %v, want a reset of the peer", err)
			}
			s.Reset(tunnel.Stopped)
		}
		tunneltest.Pass(time.Second)
		if n := c.Info().Streams; n != 0 {
			t.Errorf("%d streams are open, want none", n)
		}
	})
}

func TestOtherTunnelsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		near, far := configs(t, carrier.Limits{})
		l := v.listen(far)
		a, b := v.dial(l, near, tunnel.Interactive)
		x, y := v.dial(l, near, tunnel.Interactive)
		near1, far1 := tunneltest.Streams(t, a, b)
		x.control.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		<-y.Done()
		tunneltest.Write(t, near1, "still here")
		tunneltest.WantRead(t, far1, "still here")
	})
}
