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
)

// TestBreakOffToOneThatDoesNotKnow: a peer of before is reset as it always was, and
// its resets are understood.
func TestBreakOffToOneThatDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer, _ := play(t, carrier.Limits{})
		if c.partial {
			t.Error("it is taken for one that knows")
		}
		qs := peer.open(t, []byte{0, 0, 'q'})
		s := tunneltest.Accept(t, c)
		tunneltest.WantRead(t, s, "q")
		tunneltest.Write(t, s, "answer")
		s.Reset(tunnel.DestinationGone)
		_, err := io.ReadAll(struct{ io.Reader }{qs})
		var reset *quic.StreamError
		if !errors.As(err, &reset) || !reset.Remote || reset.ErrorCode != quic.StreamErrorCode(tunnel.DestinationGone) {
			t.Errorf("the peer was told %v", err)
		}
		qs = peer.open(t, []byte{0, 0, 'q'})
		s = tunneltest.Accept(t, c)
		tunneltest.Pass(time.Second)
		qs.CancelWrite(quic.StreamErrorCode(tunnel.CallerGone))
		qs.CancelRead(quic.StreamErrorCode(tunnel.CallerGone))
		<-s.Done()
		_, err = s.Write([]byte("answer"))
		tunneltest.WantReset(t, err, tunnel.CallerGone, true)
		s.Reset(tunnel.Stopped)
		tunneltest.Pass(time.Second)
		if n := c.Info().Streams; n != 0 {
			t.Errorf("%d streams are open, want none", n)
		}
	})
}

// TestBreakOffOnAPathThatIsCut: a reset that cannot leave waits no longer than it
// should, and holds nothing then.
func TestBreakOffOnAPathThatIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := virtualPair(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 64 << 10})
		near, far := tunneltest.Streams(t, a, b)
		s := far.(*stream)
		go far.Write(make([]byte, 1<<20))
		tunneltest.Pass(time.Second)
		began := time.Now()
		far.Reset(tunnel.DestinationGone)
		<-s.qs.Context().Done()
		if took := time.Since(began); took != lingering {
			t.Errorf("the reset waited for %s, want %s", took, lingering)
		}
		<-near.Done()
		_, err := io.Copy(io.Discard, near)
		tunneltest.WantReset(t, err, tunnel.DestinationGone, true)
	})
}

// TestBreakOffIsAtOnce: a stream of which nothing was written has nothing to wait for,
// and no goroutine.
func TestBreakOffIsAtOnce(t *testing.T) {
	for name, code := range map[string]tunnel.ResetCode{"nothing written": tunnel.Refused, "not to be read": tunnel.Denied(1)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, _ := virtualPair(t, carrier.Limits{})
				_, far := tunneltest.Streams(t, a, b)
				if code.AtOnce() {
					tunneltest.Write(t, far, "answer")
				}
				far.Reset(code)
				if !tunneltest.IsDone(far.(*stream).qs.Context().Done()) {
					t.Error("this end's direction is still open")
				}
			})
		})
	}
}
