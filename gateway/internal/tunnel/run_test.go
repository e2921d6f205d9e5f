package tunnel

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestRemovedPeersDrain(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1"), peerAt("gcp", "")})
		synctest.Wait()
		dialled, added := p.dialer.last("azure:1"), newFake(gatewayID("gcp"))
		p.Add(added)
		s, _ := dialled.Open(t.Context(), nil)
		p.SetPeers(nil)
		synctest.Wait()
		if !dialled.Info().Draining {
			t.Error("a removed peer's tunnel does not drain")
		}
		<-added.Done() // it had no streams
		if _, err := p.Pick(t.Context(), "azure", Interactive); err == nil {
			t.Error("a removed peer is picked")
		}
		begin := time.Now()
		<-dialled.Done()
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("a removed peer's tunnel was closed after %s, want the drain timeout", d)
		}
		<-s.Done()
		if code := s.(*fakeStream).code; code != TunnelClosed {
			t.Errorf("its stream ended with %q", code)
		}
		synctest.Wait()
		if n := len(p.Tunnels()); n != 0 {
			t.Errorf("%d tunnels are left", n)
		}
	})
}

func TestStrangersLeave(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		before := newFake(gatewayID("gcp")) // let in before the peers are known
		p.Add(before)
		pass(time.Minute)
		if isClosed(before) {
			t.Fatal("closed before SetPeers")
		}
		soon, never := newFake(gatewayID("azure")), newFake(gatewayID("other"))
		p.SetPeers([]Peer{peerAt("gcp", "")})
		p.Add(soon)
		p.Add(never)
		pass(time.Second)
		p.SetPeers([]Peer{peerAt("gcp", ""), peerAt("azure", "")})
		pass(time.Minute)
		if isClosed(before) || isClosed(soon) {
			t.Error("a peer's tunnel was closed")
		}
		if !isClosed(never) {
			t.Error("a stranger's tunnel stays")
		}
	})
}

func isClosed(f *fakeTunnel) bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

func TestRunServesStreamsOfEveryTunnel(t *testing.T) {
	served := make(chan Stream, 10)
	serve := waiting(func(_ context.Context, tun Tunnel, s Stream) {
		if s.(*fakeStream).tunnel != tun {
			t.Error("stream is served with another tunnel than its own")
		}
		served <- s
		if s.Header().GetId() == "ends" {
			s.CloseWrite()
		}
	})
	inBubble(t, serve, func(t *testing.T, p *running) {
		served = make(chan Stream, 10) // of this bubble
		p.SetPeers([]Peer{peerAt("azure", "azure:1"), peerAt("gcp", "")})
		synctest.Wait()
		dialled, added := p.dialer.last("azure:1"), newFake(gatewayID("gcp"))
		p.Add(added)
		added.arrived <- added.stream(&crossingv1.Header{Id: "ends"})
		dialled.arrived <- dialled.stream(&crossingv1.Header{Id: "left"})
		want := map[string]ResetCode{"ends": 0, "left": DestinationGone}
		for range 2 {
			s := <-served
			<-s.Done()
			id := s.Header().GetId()
			if code := s.(*fakeStream).code; code != want[id] {
				t.Errorf("stream %q ended with %q, want %q", id, code, want[id])
			}
		}
	})
}

func TestRunDrainsInTheEnd(t *testing.T) {
	tests := []struct {
		name  string
		takes time.Duration // that the crossing has still to go
		ends  time.Duration // of Run after its context
		code  ResetCode
	}{
		{"streams that end in time", 3 * time.Second, 3 * time.Second, 0},
		{"streams that do not", time.Hour, 10 * time.Second, Stopped},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			serve := waiting(func(ctx context.Context, _ Tunnel, s Stream) {
				select {
				case <-time.After(tt.takes):
					s.CloseWrite()
				case <-ctx.Done():
				}
			})
			inBubble(t, serve, func(t *testing.T, p *running) {
				p.SetPeers([]Peer{peerAt("azure", "azure:1")})
				synctest.Wait()
				tun := p.dialer.last("azure:1")
				s := tun.stream(&crossingv1.Header{Id: "x"})
				tun.arrived <- s
				begin := time.Now()
				p.stop()
				if d := time.Since(begin); d != tt.ends {
					t.Errorf("Run ended after %s, want %s", d, tt.ends)
				}
				if <-s.done; s.code != tt.code {
					t.Errorf("stream ended with %q, want %q", s.code, tt.code)
				}
				if !isClosed(tun) {
					t.Error("the tunnel is still open")
				}
				late := newFake(gatewayID("azure"))
				if p.Add(late); !isClosed(late) {
					t.Error("a tunnel is added after the end")
				}
				if _, err := p.Pick(t.Context(), "azure", Interactive); !errors.Is(err, errStopped) {
					t.Errorf("Pick after the end: %v", err)
				}
				if err := p.Run(t.Context(), serve); err == nil {
					t.Error("Run runs twice")
				}
			})
		})
	}
}

// Whoever serves a stream may wait for nothing but the stream itself: those that
// are left when the drain is over are reset, whichever ended before them.
func TestRunResetsStreamsInTheEnd(t *testing.T) {
	serve := func(_ context.Context, _ Tunnel, s Stream, over func()) {
		go func() { <-s.Done(); over() }() // in no goroutine of Run's
	}
	inBubble(t, serve, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		tun := p.dialer.last("azure:1")
		var streams [5]*fakeStream
		for i := range streams {
			streams[i] = tun.stream(&crossingv1.Header{})
			tun.arrived <- streams[i]
		}
		synctest.Wait()
		want := [5]ResetCode{CallerGone, Stopped, CallerGone, Stopped, CallerGone} // last, within, first
		for _, i := range []int{2, 0, 4} {
			streams[i].Reset(CallerGone)
			synctest.Wait()
		}
		p.stop()
		for i, s := range streams {
			if <-s.done; s.code != want[i] {
				t.Errorf("stream %d ended with %q, want %q", i, s.code, want[i])
			}
		}
	})
}

func TestTunnelsThatWereAddedBeforeRunAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Dialers: map[string]Dialer{TCP: newDialer()}})
		tun := newFake(gatewayID("azure"))
		p.Add(tun)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Pick(ctx, "azure", Interactive); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Pick before Run: %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		served := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { p.Run(ctx, waiting(func(context.Context, Tunnel, Stream) { close(served) })) })
		tun.arrived <- tun.stream(nil)
		<-served
		cancel()
		wg.Wait()
	})
}
