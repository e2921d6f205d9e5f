package tunnel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// carriers is a pool that dials by TCP and by QUIC.
type carriers struct {
	*Pool
	tcp, quic *fakeDialer

	guard  sync.Mutex // guards chosen
	chosen []Choice
}

func twoCarriers(t *testing.T, cfg PoolConfig, f func(t *testing.T, p *carriers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &carriers{tcp: newDialer(), quic: newDialer()}
		p.quic.carrier = QUIC
		cfg.Dialers = map[string]Dialer{TCP: p.tcp, QUIC: p.quic}
		cfg.Chose = func(_ string, _ Class, c Choice) {
			p.guard.Lock()
			defer p.guard.Unlock()
			p.chosen = append(p.chosen, c)
		}
		p.Pool = NewPool(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := p.Run(ctx, leaveOpen); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		defer func() { cancel(); wg.Wait() }()
		f(t, p)
	})
}

// picks checks what Pick gives, why, and how long it takes at most.
func (p *carriers) picks(t *testing.T, class Class, carrier string, why Choice, within time.Duration) *fakeTunnel {
	t.Helper()
	begin := time.Now()
	got, err := p.Pick(t.Context(), "azure", class)
	if err != nil {
		t.Fatalf("Pick: %v", err)
	}
	if i := got.Info(); i.Carrier != carrier || i.Choice != why || i.Class != class {
		t.Errorf("picked a tunnel for %s by %s (%s), want one for %s by %s (%s)", i.Class, i.Carrier, i.Choice, class, carrier, why)
	}
	if p.chosen[len(p.chosen)-1] != why {
		t.Errorf("told of the choice %s, want %s", p.chosen[len(p.chosen)-1], why)
	}
	if d := time.Since(begin); d > within {
		t.Errorf("took %s, want at most %s", d, within)
	}
	return got.(*picked).Tunnel.(*fakeTunnel)
}

func TestBothCarriersAreKept(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		if n := len(p.Tunnels()); n != 2 {
			t.Errorf("%d tunnels, want one by each carrier", n)
		}
		p.picks(t, Interactive, TCP, Usual, 0)
	})
}

func TestTheFirstCarrierToAnswerBegins(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.tcp.slow["azure:1"] = 5 * time.Second
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		p.picks(t, Interactive, QUIC, Failover, 0)
		pass(6 * time.Second)
		p.picks(t, Interactive, TCP, Usual, 0)
	})
}

func TestLossMovesInteractiveTrafficToQUIC(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		tcp := p.picks(t, Interactive, TCP, Usual, 0)
		p.picks(t, Bulk, TCP, Usual, headStart)
		set(tcp, func() { tcp.loss = 0.01 })
		pass(2 * lookInterval)
		p.picks(t, Interactive, QUIC, Lossy, 0)
		p.picks(t, Bulk, TCP, Usual, 0)
	})
}

func set(f *fakeTunnel, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func TestClassesNeverShareATunnel(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		calls := p.picks(t, Interactive, TCP, Usual, 0)
		bulk := p.picks(t, Bulk, TCP, Usual, 0)
		if calls == bulk {
			t.Fatal("bulk shares the tunnel of interactive traffic")
		}
		set(calls, func() { calls.class = Bulk }) // a stream in it has turned
		fresh := p.picks(t, Interactive, QUIC, Failover, 0)
		pass(2 * lookInterval)
		if now := p.picks(t, Interactive, TCP, Usual, 0); now == calls || now == fresh {
			t.Error("no tunnel was dialled in place of the one that turned bulk")
		}
	})
}

func TestBulkSpreadsOverLanes(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.tcp.slow["azure:1"] = 150 * time.Millisecond
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		pass(time.Second)
		first := p.picks(t, Bulk, TCP, Usual, 150*time.Millisecond)
		pass(time.Second)
		if again := p.picks(t, Bulk, TCP, Usual, 0); again != first {
			t.Error("a lane was dialled while one carries nothing")
		}
		set(first, func() { first.extra = 1 })
		var mu sync.Mutex
		used := map[Tunnel]int{}
		var burst sync.WaitGroup
		for range 15 {
			burst.Go(func() {
				got, err := p.Pick(t.Context(), "azure", Bulk)
				if err != nil {
					t.Errorf("Pick: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				used[got.(*picked).Tunnel]++
			})
		}
		burst.Wait()
		used[first]++
		for _, n := range used {
			if n < 3 || n > 5 {
				t.Errorf("%d of 16 streams in one lane", n)
			}
		}
		if len(used) != lanes {
			t.Errorf("%d lanes are used, want %d", len(used), lanes)
		}
	})
}

// TestBulkStaysWithTCP: a packet of a handshake that was lost is no reason to
// carry bulk by QUIC.
func TestBulkStaysWithTCP(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		pass(time.Second)
		p.tcp.set(func() { p.tcp.slow["azure:1"] = time.Second })
		time.AfterFunc(100*time.Millisecond, func() {
			p.tcp.set(func() { p.tcp.slow["azure:1"] = 200 * time.Millisecond })
		})
		p.picks(t, Bulk, TCP, Usual, headStart+200*time.Millisecond)
	})
}

func TestBulkDoesNotWaitForALaneThatDoesNotCome(t *testing.T) {
	for _, dead := range []struct {
		name   string
		block  func(d *fakeDialer)
		within time.Duration
	}{
		{"no answer", func(d *fakeDialer) { d.slow["azure:1"] = time.Minute }, lanePatience},
		{"refused", func(d *fakeDialer) { d.down["azure:1"] = true }, dialPause},
	} {
		t.Run(dead.name, func(t *testing.T) {
			twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
				p.SetPeers([]Peer{peerAt("azure", "azure:1")})
				first := p.picks(t, Bulk, TCP, Usual, 150*time.Millisecond)
				set(first, func() { first.extra = 1 })
				p.tcp.set(func() { dead.block(p.tcp) })
				if again := p.picks(t, Bulk, TCP, Usual, dead.within); again != first {
					t.Error("picked another tunnel than the one that there is")
				}
			})
		})
	}
}

func TestTunnelsThatTurnedBulkDoNotPileUp(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		p.picks(t, Bulk, TCP, Usual, 0)
		var turned []*fakeTunnel
		for range 5 {
			f := p.picks(t, Interactive, TCP, Usual, 0)
			set(f, func() { f.class = Bulk })
			turned = append(turned, f)
			pass(2 * lookInterval)
		}
		for _, f := range turned { // and back, when their streams have ended
			set(f, func() { f.class = Interactive })
		}
		pass(2 * spareAfter)
		seen := map[way]int{}
		for _, i := range p.Tunnels() {
			seen[way{carrier: i.Carrier, class: i.Class}]++
		}
		if seen[way{carrier: TCP}] != 1 || seen[way{carrier: QUIC}] != 1 || seen[way{carrier: TCP, class: Bulk}] > 1 {
			t.Errorf("tunnels %v, want one by each carrier for interactive traffic, and at most one for bulk", seen)
		}
	})
}

func TestClassesShareOnlyWhenThereIsNoRoom(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		for len(p.Tunnels()) < maxTunnels {
			for _, d := range []*fakeDialer{p.tcp, p.quic} {
				f := d.last("azure:1")
				set(f, func() { f.class, f.extra = Bulk, 1 })
			}
			pass(2 * lookInterval)
		}
		for _, d := range []*fakeDialer{p.tcp, p.quic} {
			f := d.last("azure:1")
			set(f, func() { f.class, f.extra = Bulk, 1 })
		}
		got, err := p.Pick(t.Context(), "azure", Interactive)
		if err != nil || got.Info().Class != Bulk || got.Info().Choice != Failover {
			t.Fatalf("Pick = %+v, %v, want a bulk tunnel", got, err)
		}
		for _, d := range []*fakeDialer{p.tcp, p.quic} {
			var made []*fakeTunnel
			d.set(func() { made = slices.Clone(d.made["azure:1"]) })
			for _, f := range made {
				f.Close() // their streams are not real: nobody will end them
			}
		}
	})
}

func TestFailover(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		calls, bulk := p.picks(t, Interactive, TCP, Usual, 0), p.picks(t, Bulk, TCP, Usual, 0)
		synctest.Wait()                                         // attempts that were overtaken have ended
		p.tcp.set(func() { p.tcp.slow["azure:1"] = time.Hour }) // TCP is dropped on the way
		p.quic.set(func() { p.quic.slow["azure:1"] = 100 * time.Millisecond })
		for _, f := range []*fakeTunnel{calls, bulk} {
			set(f, func() { f.silent = silentFor + 1 })
		}
		p.picks(t, Interactive, QUIC, Failover, 0)
		p.picks(t, Bulk, QUIC, Failover, headStart+100*time.Millisecond)
		for _, f := range []*fakeTunnel{calls, bulk} {
			set(f, func() { f.silent = 0 })
		}
		pass(2 * opening)
		p.picks(t, Interactive, TCP, Usual, 0)
		p.picks(t, Bulk, TCP, Usual, 0)
	})
}

// TestAPathThatIsCutIsWaitedFor: nothing is opened where nobody answers.
func TestAPathThatIsCutIsWaitedFor(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		both := []*fakeTunnel{p.tcp.last("azure:1"), p.quic.last("azure:1")}
		for _, f := range both {
			set(f, func() { f.silent = time.Second })
		}
		time.AfterFunc(3*time.Second, func() {
			for _, f := range both {
				set(f, func() { f.silent = 0 })
			}
		})
		if got := p.picks(t, Interactive, TCP, Usual, 3*time.Second+answerLook); got != both[0] {
			t.Error("another tunnel than the one there is")
		}
		synctest.Wait()
		for _, f := range both {
			set(f, func() { f.silent = time.Second })
		}
		begin := time.Now()
		if _, err := p.Pick(t.Context(), "azure", Interactive); !errors.Is(err, errSilent) || time.Since(begin) != answerPatience {
			t.Errorf("Pick = %v after %s", err, time.Since(begin))
		}
	})
}

// TestAGatewayThatIsGoneIsBuried: by QUIC nobody says that a gateway was killed;
// its host refusing TCP does.
func TestAGatewayThatIsGoneIsBuried(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		tcp, quic := p.tcp.last("azure:1"), p.quic.last("azure:1")
		p.tcp.set(func() { p.tcp.down["azure:1"] = true })
		tcp.Close()
		pass(time.Second)
		if isClosed(quic) {
			t.Fatal("a tunnel that answers was closed")
		}
		set(quic, func() { quic.silent = time.Second })
		pass(lastRetry)
		if !isClosed(quic) {
			t.Error("the tunnel of a gateway that is gone stays")
		}
	})
}

func TestAPeerThatDialsOutIsAwaited(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "")})
		p.Add(newFake(gatewayID("azure")))
		time.AfterFunc(time.Second, func() {
			bulk := newFake(gatewayID("azure"))
			bulk.class = Bulk
			p.Add(bulk)
		})
		p.picks(t, Bulk, TCP, Usual, time.Second)
	})
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "")})
		p.Add(newFake(gatewayID("azure")))
		begin := time.Now()
		if _, err := p.Pick(t.Context(), "azure", Bulk); !errors.Is(err, errDialsOut) || time.Since(begin) != dialOutPatience {
			t.Errorf("Pick = %v after %s", err, time.Since(begin))
		}
	})
}

func TestAGatewayThatDialsOutKeepsBulkToo(t *testing.T) {
	twoCarriers(t, PoolConfig{DialsOut: true}, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		seen := map[way]int{}
		for _, i := range p.Tunnels() {
			seen[way{carrier: i.Carrier, class: i.Class}]++
		}
		if len(seen) != 3 || seen[way{carrier: TCP, class: Bulk}] != 1 || seen[way{carrier: TCP}] != 1 || seen[way{carrier: QUIC}] != 1 {
			t.Errorf("tunnels: %v", seen)
		}
	})
}

func TestAnotherGatewayTakesOver(t *testing.T) {
	twoCarriers(t, PoolConfig{}, func(t *testing.T, p *carriers) {
		other := Peer{ID: gatewayID("b"), Environment: "azure", Address: "b:1"}
		p.SetPeers([]Peer{peerAt("azure", "azure:1"), other})
		synctest.Wait()
		for _, f := range []*fakeTunnel{p.tcp.last("azure:1"), p.quic.last("azure:1")} {
			set(f, func() { f.silent = time.Second })
		}
		if got := p.picks(t, Interactive, TCP, Usual, 0); got.peer != other.ID {
			t.Errorf("picked %s, which does not answer", got.peer)
		}
		far := p.tcp.last("b:1")
		set(far, func() { far.rtt = 80 * time.Millisecond })
		for _, f := range []*fakeTunnel{p.tcp.last("azure:1"), p.quic.last("azure:1")} {
			set(f, func() { f.silent, f.rtt = 0, 10*time.Millisecond })
		}
		if got := p.picks(t, Interactive, TCP, Usual, 0); got.peer == other.ID {
			t.Errorf("picked %s, which is further away", got.peer)
		}
	})
}

func TestOneCarrierIsTheUsualOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer()
		d.carrier = QUIC
		p := NewPool(PoolConfig{Dialers: map[string]Dialer{QUIC: d}, DialsOut: true})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.Run(ctx, leaveOpen) })
		defer func() { cancel(); wg.Wait() }()
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		for _, class := range []Class{Interactive, Bulk} {
			got, err := p.Pick(t.Context(), "azure", class)
			if err != nil {
				t.Fatal(err)
			}
			if i := got.Info(); i.Carrier != QUIC || i.Choice != Usual {
				t.Errorf("%s goes by %s (%s)", class, i.Carrier, i.Choice)
			}
		}
	})
}
