package relay_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// said is more than a slow caller's connection takes, and less than a stream does.
const said = 200 << 10

// brokenOff is a crossing whose destination has said much, of which its caller has
// read nothing yet, and whose stream was then reset.
func brokenOff(t *testing.T, way [2]bool, code tunnel.ResetCode) (c *crossing, sent []byte) {
	t.Helper()
	near, far := tunnels(t)
	c = cross(t, near, far, way)
	c.caller.SetReadBuffer(32 << 10)
	c.local.SetWriteBuffer(32 << 10)
	sent = make([]byte, said)
	rand.NewChaCha8([32]byte{1}).Read(sent)
	c.destination.Write(sent)
	for began := time.Now(); c.in.Sent.Load() < said; runtime.Gosched() {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("only %d bytes were sent", c.in.Sent.Load())
		}
	}
	c.far.Reset(code)
	<-c.near.Done()
	if n := c.out.Received.Load(); n >= said {
		t.Fatal("nothing was left to be cut off")
	}
	return c, sent
}

// TestBreakingOffIsBehindWhatWasSaid: a caller's connection gets all that the
// destination said before the stream was reset, if it takes it soon, and is broken
// then. What the system has not sent by that time it throws away, which is what tells
// the caller that this was no end.
func TestBreakingOffIsBehindWhatWasSaid(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			c, sent := brokenOff(t, way, tunnel.Stopped)
			got, err := io.ReadAll(c.caller)
			if err == nil || !bytes.HasPrefix(sent, got) {
				t.Errorf("the caller got %d bytes of %d, %v", len(got), said, err)
			}
			out := <-c.egress
			wantReset(t, out.Stream, tunnel.Stopped)
			wantReset(t, (<-c.ingress).Stream, tunnel.Stopped)
			if out.Received != said {
				t.Errorf("the relay has handed on %d bytes of %d", out.Received, said)
			}
		})
	}
}

// TestBreakingOffDoesNotWaitForEver: a caller who takes nothing of it is let go of,
// and at once if this end says so.
func TestBreakingOffDoesNotWaitForEver(t *testing.T) {
	for _, hasty := range []bool{false, true} {
		c, _ := brokenOff(t, ways["own"], tunnel.Stopped)
		began := time.Now()
		if hasty {
			c.near.Reset(tunnel.CallerGone)
		}
		out := <-c.egress
		wantReset(t, out.Stream, tunnel.Stopped)
		if took := time.Since(began); hasty != (took < time.Second) || took > 10*time.Second {
			t.Errorf("it took %s to let go, at once %t", took, hasty)
		}
		if out.Received >= said {
			t.Errorf("all %d bytes were taken", out.Received)
		}
	}
}

// TestBreakingOffAtOnce: of what a gateway does not stand by any more nothing is passed
// on that has not been yet.
func TestBreakingOffAtOnce(t *testing.T) {
	code := tunnel.Denied(crossingv1.Reason_NO_TRANSITION)
	c, _ := brokenOff(t, ways["own"], code)
	began := time.Now()
	out := <-c.egress
	wantReset(t, out.Stream, code)
	if took := time.Since(began); took > time.Second || out.Received >= said {
		t.Errorf("it took %s to let go, after %d bytes", took, out.Received)
	}
}
