package quictunnel

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// everything is a cut of the whole network.
func everything(simnet.Packet) bool { return true }

func TestPingsMeasureThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := virtualPair(t, carrier.Limits{})
		tunneltest.Pass(time.Minute)
		for _, c := range []*conn{a, b} {
			i := c.Info()
			if i.RoundTrip < 2*oneWay || i.RoundTrip > 2*oneWay+10*time.Millisecond {
				t.Errorf("round trip is %s, want %s", i.RoundTrip, 2*oneWay)
			}
			if i.ClockOffset.Abs() > 5*time.Millisecond {
				t.Errorf("clocks differ by %s, want 0", i.ClockOffset)
			}
			if i.Loss != 0 || i.Silent > 2*oneWay {
				t.Errorf("loss is %v, silent for %s, want none", i.Loss, i.Silent)
			}
		}
		tunneltest.Pass(10 * time.Minute) // pings keep it alive
		if isClosed(a.Done()) || isClosed(b.Done()) {
			t.Error("tunnel ended")
		}
	})
}

func TestPaceOfPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := virtualPair(t, carrier.Limits{})
		sent := func(d time.Duration) int {
			before := lastPing(a)
			tunneltest.Pass(d)
			return int(lastPing(a) - before)
		}
		tunneltest.Pass(2 * time.Minute)
		if n := sent(time.Minute); n < 11 || n > 13 {
			t.Errorf("idle: %d pings a minute, want 12", n)
		}
		near, far := tunneltest.Streams(t, b, a) // at once, not after the slow pace's rest
		if n := sent(10 * time.Second); n < 38 || n > 42 {
			t.Errorf("with a stream: %d pings in 10 s, want 40", n)
		}
		near.Reset(tunnel.CallerGone)
		<-far.Done()
		tunneltest.Pass(2 * time.Minute)
		if n := sent(time.Minute); n < 11 || n > 13 {
			t.Errorf("idle again: %d pings a minute, want 12", n)
		}
	})
}

func lastPing(c *conn) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.probes.last
}

func TestProbes(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(ms int) time.Time { return now.Add(time.Duration(ms) * time.Millisecond) }
	var p probes
	p.next(now)
	p.answered(mux.Probe{Opaque: 8, Clock: now}, at(10), time.Second) // not asked for
	if p.measured || p.silent(at(50), 1) != 0 || p.silent(at(90), 1) != 40*time.Millisecond {
		t.Fatal("an answer that nobody asked for counts")
	}
	p.answered(mux.Probe{Opaque: 1, Clock: at(60_050)}, at(100), 100*time.Millisecond)
	if p.offset != time.Minute || p.silent(at(200), 1) != 0 {
		t.Errorf("offset %s, silent %s, want 1m0s and 0", p.offset, p.silent(at(200), 1))
	}
	p.next(at(200))
	p.next(at(300))
	p.answered(mux.Probe{Opaque: 3, Clock: at(0)}, at(3000), 100*time.Millisecond) // waited for a lost packet
	if p.offset != time.Minute || len(p.unanswered) != 0 {
		t.Errorf("offset %s, %d unanswered, want 1m0s and 0", p.offset, len(p.unanswered))
	}
}

func TestLoss(t *testing.T) {
	now := time.Unix(1000, 0)
	var l loss
	look := func(sent, lost uint64) float64 {
		now = now.Add(time.Second)
		l.look(now, quic.ConnectionStats{PacketsSent: sent, PacketsLost: lost})
		return l.share()
	}
	if s := look(10, 0); s != 0 {
		t.Errorf("share of a few packets is %v, want 0", s)
	}
	if s := look(500, 1); s != 0 {
		t.Errorf("share with one packet lost is %v, want 0", s)
	}
	if s := look(1000, 20); math.Abs(s-0.02) > 0.001 {
		t.Errorf("share is %v, want 0.02", s)
	}
	if s := look(1000, 10); s < 0 || s > 0.011 {
		t.Errorf("after late packets the share is %v, want 0.01", s)
	}
	now = now.Add(10 * lossHalfLife)
	if s := look(2000, 10); s > 0.001 {
		t.Errorf("long after it, the share is %v", s)
	}
}

func TestLossIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, v := virtualPair(t, carrier.Limits{})
		v.wire.set(0.05, nil)
		near, far := tunneltest.Streams(t, a, b)
		for range 500 {
			tunneltest.Write(t, near, "token")
			tunneltest.WantRead(t, far, "token")
		}
		if l := a.Info().Loss; l < 0.01 || l > 0.15 {
			t.Errorf("loss is %v, want about 0.05", l)
		}
	})
}

func TestACutOfThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, v := virtualPair(t, carrier.Limits{})
		near, far := tunneltest.Streams(t, a, b)
		tunneltest.Write(t, near, "before")
		tunneltest.WantRead(t, far, "before")
		v.wire.set(0, everything)
		tunneltest.Write(t, near, "meanwhile")
		tunneltest.Pass(3 * time.Second)
		for _, c := range []*conn{a, b} {
			if s := c.Info().Silent; s < 2700*time.Millisecond || s > 3100*time.Millisecond {
				t.Errorf("silent for %s, want about 3s", s)
			}
		}
		begin := time.Now()
		v.wire.set(0, nil)
		tunneltest.WantRead(t, far, "meanwhile")
		if d := time.Since(begin); d > time.Second {
			t.Errorf("went on after %s", d)
		}
		tunneltest.Pass(time.Second)
		if s := a.Info().Silent; s > 2*oneWay {
			t.Errorf("still silent, for %s", s)
		}
	})
}

func TestSilentPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, v := virtualPair(t, carrier.Limits{})
		near, _ := tunneltest.Streams(t, a, b)
		begin := time.Now()
		v.wire.set(0, everything)
		_, err := near.Read(make([]byte, 1))
		tunneltest.WantReset(t, err, tunnel.TunnelClosed, false)
		if d := time.Since(begin); d < idleTimeout-time.Second || d > idleTimeout+5*time.Second {
			t.Errorf("given up after %s, want %s", d, idleTimeout)
		}
		<-b.Done()
	})
}

func TestTunnelTurnsBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := virtualPair(t, carrier.Limits{})
		near, far := tunneltest.Streams(t, a, b)
		for range 200 { // tokens
			tunneltest.Write(t, near, "token")
			tunneltest.WantRead(t, far, "token")
		}
		if a.Info().Class != tunnel.Interactive || b.Info().Class != tunnel.Interactive {
			t.Error("tokens turned it bulk")
		}
		go near.Write(make([]byte, carrier.TurnsBulkBytes))
		for buf, left := make([]byte, 64<<10), carrier.TurnsBulkBytes; left > 0; {
			n, err := far.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
		if a.Info().Class != tunnel.Bulk || b.Info().Class != tunnel.Bulk {
			t.Errorf("classes are %s and %s, want bulk", a.Info().Class, b.Info().Class)
		}
		near.Reset(tunnel.CallerGone)
		tunneltest.Pass(time.Second)
		if a.Info().Class != tunnel.Interactive || b.Info().Class != tunnel.Interactive {
			t.Errorf("classes are %s and %s once no stream is open", a.Info().Class, b.Info().Class)
		}
	})
}

func TestSVIDsEnd(t *testing.T) {
	for _, stream := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVirtual(t)
			mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
			mesh["azure.demo"].TTL = 4 * time.Hour // it is the dialler's SVID that ends
			near := carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer}
			far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer}
			begin := time.Now()
			a, b := v.dial(v.listen(far), near, tunnel.Interactive)
			if stream {
				tunneltest.Streams(t, a, b)
			}
			tunneltest.Pass(41 * time.Minute)
			if b.Info().Draining {
				t.Error("drains too early")
			}
			tunneltest.Pass(8 * time.Minute)
			if !b.Info().Draining {
				t.Error("does not drain")
			}
			if isClosed(b.Done()) == stream {
				t.Errorf("ended is %v with a stream %v", !stream, stream)
			}
			<-a.Done()
			<-b.Done()
			if d := time.Since(begin); stream && (d < 59*time.Minute || d > time.Hour+time.Second) {
				t.Errorf("ended after %s, want an hour", d)
			}
		})
	}
}
