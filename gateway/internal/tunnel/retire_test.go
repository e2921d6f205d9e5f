package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// retiring is a tunnel that can turn the peer's streams away alone.
type retiring struct {
	*fakeTunnel
	retired int
}

func (r *retiring) Retire() { set(r.fakeTunnel, func() { r.retired++ }) }

// TestRetire: peers are sent away from every tunnel, this end opens streams still,
// and none is dialled but for that.
func TestRetire(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1"), peerAt("onprem", "")})
		synctest.Wait()
		mine := &retiring{fakeTunnel: newFake(gatewayID("onprem"))}
		p.Add(mine)
		p.Retire()
		p.Retire() // once is enough
		if mine.retired != 1 {
			t.Errorf("retired %d times", mine.retired)
		}
		both := []*fakeTunnel{p.tcp.last("azure:1"), p.quic.last("azure:1")}
		synctest.Wait()
		for _, f := range both { // they cannot turn away one end alone
			if !f.Info().Draining {
				t.Errorf("the tunnel by %s does not drain", f.carrier)
			}
		}
		tun, err := p.Pick(t.Context(), "onprem", Interactive)
		if err != nil {
			t.Fatal(err)
		}
		s, err := tun.Open(t.Context(), &crossingv1.Header{Id: "x"})
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if p.tcp.last("azure:1") != both[0] {
			t.Error("a tunnel was dialled that nobody needs")
		}
		late := &retiring{fakeTunnel: newFake(gatewayID("onprem"))}
		p.Add(late)
		if late.retired != 1 {
			t.Error("a tunnel that came late was not retired")
		}
		drained := make(chan struct{})
		go func() { p.Drain(t.Context()); close(drained) }()
		synctest.Wait()
		select {
		case <-drained:
			t.Error("drained with a stream open")
		default:
		}
		s.Reset(CallerGone)
		<-drained
	})
}

// TestDrainHasAnEnd: what is open when the context ends is left.
func TestDrainHasAnEnd(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "")})
		f := newFake(gatewayID("azure"))
		f.stream(&crossingv1.Header{})
		p.Add(f)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p.Drain(ctx)
		if ctx.Err() == nil || isClosed(f) {
			t.Error("drained before the stream or the context had ended")
		}
		f.Close()
	})
}

// TestTheOnlyCarrierIsNotDrained: where there is nothing else to open streams by.
func TestTheOnlyCarrierIsNotDrained(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		p.Retire()
		synctest.Wait()
		if f := p.dialer.last("azure:1"); f.Info().Draining {
			t.Error("the only tunnel drains")
		}
	})
}

// TestPickTriesAgainWhereAHandshakeWasCutOff: a gateway that retires ends those
// that are under way, and another process takes the next one.
func TestPickTriesAgainWhereAHandshakeWasCutOff(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		tries int
	}{
		{"end of file", io.EOF, 2},
		{"refused", errDown, 1},
		{"closed here", net.ErrClosed, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := search{tried: []*flight{{done: closed(), err: errDown}, {done: closed(), err: c.err}}}
			if again := s.cutOff(); again != (c.tries == 2) {
				t.Errorf("tries again: %t", again)
			}
			s.again = true
			if s.cutOff() {
				t.Error("tries a third time")
			}
		})
	}
	if s := (&search{tried: []*flight{{done: make(chan struct{})}, {done: closed(), err: io.EOF}}}); s.cutOff() {
		t.Error("tries again while an attempt is under way")
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// TestAwaitedPeers: after a handover, who dials by itself is waited for.
func TestAwaitedPeers(t *testing.T) {
	for _, awaits := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPool(PoolConfig{Dialers: map[string]Dialer{TCP: newDialer()}, Awaits: awaits})
			p.SetPeers([]Peer{peerAt("azure", "")})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx, leaveOpen) }()
			synctest.Wait()
			time.AfterFunc(time.Second, func() { p.Add(newFake(gatewayID("azure"))) })
			if _, err := p.Pick(t.Context(), "azure", Interactive); (err == nil) != awaits {
				t.Errorf("awaits %t: %v", awaits, err)
			}
			pass(time.Minute)
			cancel()
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// TestDrainingTunnelsDoNotCount: a peer that is restarted leaves tunnels behind,
// which do not keep those of its next process out, up to a limit.
func TestDrainingTunnelsDoNotCount(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "")})
		for range maxDraining + maxTunnels {
			f := newFake(gatewayID("azure"))
			p.Add(f)
			if isClosed(f) {
				t.Fatalf("closed beside %d others that drain", len(p.Tunnels()))
			}
			f.setDraining()
		}
		more := newFake(gatewayID("azure"))
		p.Add(more)
		if !isClosed(more) {
			t.Error("a peer has tunnels without end")
		}
	})
}
