package tunnel

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func peerAt(env, addr string) Peer { return Peer{ID: gatewayID(env), Environment: env, Address: addr} }

// running is a pool that runs until the test ends.
type running struct {
	*Pool
	dialer *fakeDialer
	stop   func() // ends Run and waits for it
}

func leaveOpen(ctx context.Context, _ Tunnel, _ Stream, over func()) { <-ctx.Done(); over() }

// waiting serves streams with something that returns at their end.
func waiting(serve func(context.Context, Tunnel, Stream)) Serve {
	return func(ctx context.Context, tun Tunnel, s Stream, over func()) { serve(ctx, tun, s); over() }
}

// inBubble runs the test with virtual time and a pool; goroutines that are left
// behind fail it.
func inBubble(t *testing.T, serve Serve, f func(t *testing.T, p *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDialer()
		p := &running{Pool: NewPool(PoolConfig{Dialers: map[string]Dialer{TCP: d}}), dialer: d}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := p.Run(ctx, serve); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		p.stop = func() { cancel(); wg.Wait() }
		defer p.stop()
		f(t, p)
	})
}

func pickWithin(t *testing.T, p *running, env string, d time.Duration) (Tunnel, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return p.Pick(ctx, env, Interactive)
}

// wantPick checks which tunnel is picked.
func wantPick(t *testing.T, p *running, env string, want Tunnel) {
	t.Helper()
	got, err := pickWithin(t, p, env, time.Minute)
	if err != nil {
		t.Fatalf("Pick(%s): %v", env, err)
	}
	if got.(*picked).Tunnel != want {
		t.Errorf("Pick(%s) is another tunnel than the one expected", env)
	}
}

func TestPickTakesTheFirstGatewayThatAnswers(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.dialer.set(func() {
			p.dialer.slow["a:1"] = time.Second
			p.dialer.down["b:1"] = true
			p.dialer.slow["c:1"] = 5 * time.Second
		})
		var peers []Peer
		for _, name := range []string{"a", "b", "c"} {
			peers = append(peers, Peer{ID: gatewayID(name), Environment: "azure", Address: name + ":1"})
		}
		p.SetPeers(peers)
		begin := time.Now()
		got, err := p.Pick(t.Context(), "azure", Interactive)
		if err != nil || got.Info().Peer != gatewayID("a") || time.Since(begin) != time.Second {
			t.Errorf("Pick = %v, %v after %s, want gateway a after 1s", got, err, time.Since(begin))
		}
	})
}

func TestPickSaysWhatWasTried(t *testing.T) {
	tests := []struct {
		name  string
		peers []Peer
		want  []string
		is    error
	}{
		{"no gateway", nil, []string{`"azure"`, "the policy has no gateway there"}, nil},
		{"refused", []Peer{peerAt("azure", "down:1")}, []string{gatewayID("azure").String(), "connection refused"}, errDown},
		{"dials by itself", []Peer{peerAt("azure", "")}, []string{gatewayID("azure").String(), "it dials by itself"}, nil},
		{"too slow", []Peer{peerAt("azure", "slow:1")}, []string{gatewayID("azure").String(), "still dialling"}, context.DeadlineExceeded},
		{"several", []Peer{
			{ID: gatewayID("x"), Environment: "azure", Address: "down:1"},
			{ID: gatewayID("y"), Environment: "azure"},
			{ID: gatewayID("z"), Environment: "gcp", Address: "up:1"},
		}, []string{gatewayID("x").String(), gatewayID("y").String(), "; "}, errDown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, leaveOpen, func(t *testing.T, p *running) {
				p.dialer.set(func() {
					p.dialer.down["down:1"] = true
					p.dialer.slow["slow:1"] = 5 * time.Second
				})
				p.SetPeers(tt.peers)
				_, err := pickWithin(t, p, "azure", 2*time.Second)
				if err == nil {
					t.Fatal("Pick succeeded")
				}
				for _, text := range tt.want {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("error %q does not say %q", err, text)
					}
				}
				if tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("error %v is not %v", err, tt.is)
				}
				if strings.Contains(err.Error(), gatewayID("z").String()) {
					t.Errorf("error %q names a gateway of another environment", err)
				}
			})
		})
	}
}

func TestPickPrefers(t *testing.T) {
	tests := []struct {
		name    string
		streams [2]int
		rtt     [2]time.Duration
		drains  bool // the first
		dead    bool // the first
		want    int
	}{
		{name: "fewer streams", streams: [2]int{3, 2}, rtt: [2]time.Duration{1, 9}, want: 1},
		{name: "then the shorter round trip", streams: [2]int{2, 2}, rtt: [2]time.Duration{1, 9}, want: 0},
		{name: "not the one that drains", streams: [2]int{0, 9}, drains: true, want: 1},
		{name: "not the one that is lost", streams: [2]int{0, 9}, dead: true, want: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, leaveOpen, func(t *testing.T, p *running) {
				p.SetPeers([]Peer{peerAt("azure", "")})
				var all [2]*fakeTunnel
				for i := range all {
					all[i] = newFake(gatewayID("azure"))
					all[i].extra, all[i].rtt = tt.streams[i], tt.rtt[i]
					p.Add(all[i])
				}
				if tt.drains {
					all[0].setDraining()
				}
				if tt.dead {
					all[0].Close()
				}
				wantPick(t, p, "azure", all[tt.want])
				for _, f := range all {
					f.Close() // their streams are not real: nobody will end them
				}
			})
		})
	}
}

func TestOpenMovesToAnotherTunnelWhenItsOwnDrains(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		picked, err := p.Pick(t.Context(), "azure", Interactive)
		if err != nil {
			t.Fatal(err)
		}
		old := p.dialer.last("azure:1")
		old.setDraining()
		s, err := picked.Open(t.Context(), &crossingv1.Header{Id: "x"})
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		if s.(*unsettled).first.stream.(*fakeStream).tunnel == old {
			t.Error("stream is in the tunnel that drains")
		}
		if i, ok := Moved(s); !ok || i.Choice != Usual {
			t.Errorf("Moved = %+v, %t, want the tunnel that was not picked", i, ok)
		}
		s.CloseWrite()
		p.dialer.set(func() { p.dialer.down["azure:1"] = true })
		p.dialer.last("azure:1").setDraining()
		if _, err := picked.Open(t.Context(), &crossingv1.Header{Id: "y"}); !errors.Is(err, ErrDraining) || !errors.Is(err, errDown) {
			t.Errorf("Open without another tunnel: %v, want ErrDraining and why", err)
		}
	})
}

func TestTunnelsOfAPeerAreLimited(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "")})
		for range maxTunnels {
			p.Add(newFake(gatewayID("azure")))
		}
		more := newFake(gatewayID("azure"))
		p.Add(more)
		if !isClosed(more) {
			t.Error("one more tunnel is kept")
		}
		if n := len(p.Tunnels()); n != maxTunnels {
			t.Errorf("%d tunnels, want %d", n, maxTunnels)
		}
	})
}
