package tunnel

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPeersAreDialledInTheBackground(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1"), peerAt("gcp", "")})
		synctest.Wait()
		if n := p.dialer.dialled("azure:1"); n != 1 {
			t.Errorf("dialled %d times, want once", n)
		}
		infos := p.Tunnels()
		if len(infos) != 1 || infos[0].Peer != gatewayID("azure") {
			t.Errorf("Tunnels() = %v", infos)
		}
		wantPick(t, p, "azure", p.dialer.last("azure:1"))
		pass(time.Hour)
		if n := p.dialer.dialled("azure:1"); n != 1 {
			t.Errorf("dialled %d times, with a tunnel there", n)
		}
	})
}

func TestLostTunnelsAreDialledAgain(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		first := p.dialer.last("azure:1")
		first.Close()
		pass(2 * time.Second)
		second := p.dialer.last("azure:1")
		if second == first {
			t.Fatal("not dialled again")
		}
		wantPick(t, p, "azure", second)
		second.setDraining()
		pass(2 * time.Second)
		third := p.dialer.last("azure:1")
		if third == second {
			t.Fatal("not dialled again when draining")
		}
		wantPick(t, p, "azure", third)
	})
}

func TestBackoff(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.dialer.set(func() { p.dialer.down["azure:1"] = true })
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		pass(time.Minute)
		var calls []time.Time
		p.dialer.set(func() { calls = slices.Clone(p.dialer.calls["azure:1"]) })
		if n := len(calls); n < 8 || n > 24 {
			t.Errorf("dialled %d times in a minute", n)
		}
		for i := 1; i < len(calls); i++ {
			if d := calls[i].Sub(calls[i-1]); d < firstRetry/2 || d > lastRetry {
				t.Errorf("attempt %d came after %s", i, d)
			}
		}
		p.dialer.set(func() { p.dialer.down["azure:1"] = false })
		pass(lastRetry)
		if len(p.Tunnels()) != 1 {
			t.Error("no tunnel once the peer is there")
		}
	})
}

func TestANewAddressIsDialledAtOnce(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.dialer.set(func() { p.dialer.down["azure:1"] = true })
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		pass(time.Minute)
		p.SetPeers([]Peer{peerAt("azure", "azure:2")})
		pass(dialPause)
		synctest.Wait()
		if len(p.Tunnels()) != 1 {
			t.Error("no tunnel to the new address")
		}
	})
}

func TestPickDialsOnceForAll(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.dialer.set(func() { p.dialer.slow["azure:1"] = time.Second })
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := p.Pick(t.Context(), "azure", Interactive); err != nil {
					t.Errorf("Pick: %v", err)
				}
			})
		}
		wg.Wait()
		if n := p.dialer.dialled("azure:1"); n != 1 {
			t.Errorf("dialled %d times for 50 crossings", n)
		}
	})
}

func TestPickDoesNotHammerAPeerThatIsDown(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.dialer.set(func() { p.dialer.down["azure:1"] = true })
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		for begin := time.Now(); time.Since(begin) < 2*time.Second; {
			if _, err := p.Pick(t.Context(), "azure", Interactive); err == nil {
				t.Fatal("Pick succeeded")
			}
		}
		if n := p.dialer.dialled("azure:1"); n > 22 {
			t.Errorf("dialled %d times in 2 s, want one each %s", n, dialPause)
		}
	})
}

func TestATunnelToAPeerThatWasRemovedMeanwhileIsClosed(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.dialer.set(func() { p.dialer.slow["azure:1"] = time.Second })
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		p.SetPeers(nil)
		pass(2 * time.Second)
		<-p.dialer.last("azure:1").Done()
	})
}
