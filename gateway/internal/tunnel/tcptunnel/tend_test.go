package tcptunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

func TestPingsMeasureThePath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const oneWay = 40 * time.Millisecond
		x, y := delayed(t, oneWay)
		a, b := pairOver(t, x, y, carrier.Limits{})
		pass(time.Second)
		for _, c := range []*conn{a, b} {
			i := c.Info()
			if i.RoundTrip != 2*oneWay {
				t.Errorf("round trip is %s, want %s", i.RoundTrip, 2*oneWay)
			}
			if i.ClockOffset != 0 {
				t.Errorf("clocks differ by %s, want 0", i.ClockOffset)
			}
		}
		pass(time.Hour) // pings keep it alive
		if isDone(a.Done()) || isDone(b.Done()) {
			t.Error("tunnel ended")
		}
	})
}

// delayed is a connection whose bytes take a while in each direction.
func delayed(t *testing.T, d time.Duration) (a, b net.Conn) {
	t.Helper()
	a, x := net.Pipe()
	y, b := net.Pipe()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	carry := func(from, to net.Conn) {
		type packet struct {
			due time.Time
			p   []byte
		}
		path := make(chan packet, 4096)
		wg.Go(func() {
			defer close(path)
			for {
				buf := make([]byte, 64<<10)
				n, err := from.Read(buf)
				if err != nil {
					return
				}
				path <- packet{time.Now().Add(d), buf[:n]}
			}
		})
		wg.Go(func() {
			defer to.Close()
			for p := range path {
				pass(time.Until(p.due))
				to.Write(p.p)
			}
		})
	}
	carry(x, y)
	carry(y, x)
	return a, b
}

func TestClockOffset(t *testing.T) {
	now := time.Unix(1000, 0)
	p := probes{sent: mux.Probe{Opaque: 7, Clock: now}, waiting: true}
	p.answered(mux.Probe{Opaque: 8, Clock: now}, now.Add(time.Second)) // not asked for
	if p.roundTrip != 0 {
		t.Fatal("an answer that nobody asked for counts")
	}
	p.answered(mux.Probe{Opaque: 7, Clock: now.Add(time.Minute + 50*time.Millisecond)}, now.Add(100*time.Millisecond))
	if p.roundTrip != 100*time.Millisecond || p.offset != time.Minute {
		t.Errorf("round trip %s, offset %s, want 100ms and 1m0s", p.roundTrip, p.offset)
	}
}

func TestSilentPeerIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{})
		go io.Copy(io.Discard, nc) // it reads, and says nothing
		begin := time.Now()
		<-c.Done()
		if d := time.Since(begin); d != 30*time.Second {
			t.Errorf("given up after %s, want 30s: two pings", d)
		}
	})
}

// TestSilenceIsTold: how long a peer owes an answer, until it says anything.
func TestSilenceIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{})
		go io.Copy(io.Discard, nc)
		want := func(after, silent time.Duration) {
			t.Helper()
			pass(after)
			if got := c.Info().Silent; got != silent {
				t.Errorf("silent for %s, want %s", got, silent)
			}
		}
		want(3*time.Second, 3*time.Second)
		nc.Write(mux.AppendWindow(nil, 0, 1)) // no answer, but a sign of life
		want(time.Second, 0)
		want(6500*time.Millisecond, 5500*time.Millisecond) // since the look at 5 s, which found it
		nc.Write(mux.AppendPong(nil, c.probes.sent))
		want(time.Second, 0)
		want(6*time.Second, 2500*time.Millisecond) // since the next ping, at 15 s
		nc.Close()
	})
}

// TestPingsAreFrequentWhileStreamsAreOpen, and rare long after.
func TestPingsAreFrequentWhileStreamsAreOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{})
		var pings atomic.Int32
		go func() {
			for {
				frame := make([]byte, mux.HeaderLen+16)
				if _, err := io.ReadFull(nc, frame); err != nil {
					return
				}
				if mux.Type(frame[0]) == mux.Ping {
					pings.Add(1)
					frame[0] = byte(mux.Pong)
					nc.Write(frame)
				}
			}
		}()
		within := func(d time.Duration, least, most int32) {
			t.Helper()
			pings.Store(0)
			pass(d)
			if n := pings.Load(); n < least || n > most {
				t.Errorf("%d pings within %s, want %d to %d", n, d, least, most)
			}
		}
		pass(2 * busyFor)
		within(time.Minute, 11, 13)
		nc.Write(mux.AppendOpen(nil, 1, nil))
		within(10*time.Second, 38, 42)
		nc.Write(mux.AppendReset(nil, 1, 2))
		within(10*time.Second, 38, 42) // the next one is expected soon
		pass(busyFor)
		within(time.Minute, 11, 13)
		nc.Close()
		<-c.Done()
	})
}

// TestStreamsOutliveACut: a path that is cut for some seconds ends nothing.
func TestStreamsOutliveACut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, y := net.Pipe()
		cut := make(chan struct{})
		a, b := pairOver(t, x, &stalling{y, cut}, carrier.Limits{})
		near, far := streams(t, a, b)
		pass(time.Second)
		cut <- struct{}{}
		pass(2 * time.Second)
		if s := a.Info().Silent; s < time.Second {
			t.Errorf("silent for %s in the middle of the cut", s)
		}
		write(t, near, "during the cut")
		wantRead(t, far, "during the cut")
		write(t, far, "after it")
		wantRead(t, near, "after it")
		pass(time.Second)
		if s := a.Info().Silent; s != 0 || isDone(a.Done()) {
			t.Errorf("silent for %s after the cut", s)
		}
	})
}

// stalling is a connection that reads nothing for three seconds when it is told.
type stalling struct {
	net.Conn
	cut chan struct{}
}

func (s *stalling) Read(p []byte) (int, error) {
	select {
	case <-s.cut:
		pass(3 * time.Second)
	default:
	}
	return s.Conn.Read(p)
}

func TestDrainWaitsForStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		drained := make(chan error)
		go func() { drained <- b.Drain(t.Context()) }()
		synctest.Wait()
		if !a.Info().Draining || !b.Info().Draining {
			t.Error("an end does not know that the tunnel drains")
		}
		for _, c := range []*conn{a, b} {
			if _, err := c.Open(t.Context(), header("late")); !errors.Is(err, tunnel.ErrDraining) {
				t.Errorf("Open: %v, want ErrDraining", err)
			}
		}
		write(t, near, "goes on")
		near.CloseWrite()
		wantRead(t, far, "goes on")
		synctest.Wait()
		select {
		case err := <-drained:
			t.Fatalf("Drain returned %v with a stream open", err)
		default:
		}
		far.CloseWrite()
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		if err := b.Drain(t.Context()); err != nil {
			t.Errorf("Drain again: %v", err)
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, _ := streams(t, a, b)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := b.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v, want the context's error", err)
		}
		b.Close()
		_, err := near.Read(make([]byte, 1))
		wantReset(t, err, tunnel.TunnelClosed, false)
		if err := a.Drain(t.Context()); err != nil {
			t.Errorf("Drain of a tunnel that has ended: %v", err)
		}
	})
}

func TestStreamsOpenedBeforeTheGoAwayWasReadAreTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{})
		peer := play(t, nc)
		go c.Drain(t.Context())
		synctest.Wait()
		nc.Write(mux.AppendOpen(nil, 1, nil))
		accept(t, c)
		nc.Close()
		peer.end()
	})
}

func TestDrainLosesNoStreamOnItsWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, y := delayed(t, 40*time.Millisecond)
		a, b := pairOver(t, x, y, carrier.Limits{})
		pass(time.Second)
		near := open(t, a, "on its way")
		write(t, near, "question")
		near.CloseWrite()
		drained := make(chan error)
		go func() {
			err := b.Drain(t.Context())
			b.Close()
			drained <- err
		}()
		far := accept(t, b)
		wantRead(t, far, "question")
		write(t, far, "answer")
		far.CloseWrite()
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		wantRead(t, near, "answer")
		wantEOF(t, near)
	})
}

func TestCloseResetsStreamsAndFlushes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		done, other := streams(t, b, a)
		write(t, done, "last words")
		done.CloseWrite()
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		_, err := far.Write([]byte("x"))
		wantReset(t, err, tunnel.TunnelClosed, false)
		_, err = near.Read(make([]byte, 1))
		wantReset(t, err, tunnel.TunnelClosed, false)
		wantRead(t, other, "last words")
		wantEOF(t, other)
		<-a.Done()
		for _, c := range []*conn{a, b} {
			if _, err := c.Open(t.Context(), header("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Open of a closed tunnel: %v, want net.ErrClosed", err)
			}
			if _, err := c.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept of a closed tunnel: %v, want net.ErrClosed", err)
			}
		}
	})
}

func TestCloseOfAPeerThatDoesNotReadIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, _ := half(t, carrier.Limits{})
		begin := time.Now()
		c.Close()
		if d := time.Since(begin); d > closeTimeout {
			t.Errorf("Close took %s", d)
		}
	})
}

func TestStreamsThatThePeerNeverTookAreLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x, y := net.Pipe()
		l := carrier.Limits{}.WithDefaults()
		c := newConn(x, mux.Dialler, settings(l), tunnel.Info{}, l, carrier.Guard{}, zap.NewNop())
		t.Cleanup(func() { c.Close() })
		play(t, y)
		taken, missed := open(t, c, "1"), open(t, c, "2")
		y.Write(mux.AppendGoAway(nil, 1, mux.Closed))
		_, err := taken.Read(make([]byte, 1))
		wantReset(t, err, tunnel.TunnelClosed, false)
		_, err = missed.Read(make([]byte, 1))
		wantReset(t, err, tunnel.TunnelClosed, true)
		y.Close()
	})
}

func TestContextsAreKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, _ := half(t, carrier.Limits{}) // the peer does not read: there will be no room
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Accept: %v, want the context's error", err)
		}
		big := header(string(bytes.Repeat([]byte("x"), 16000)))
		var err error
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 100 {
			if _, err = c.Open(ctx, big); err != nil {
				break
			}
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Open without room: %v, want the context's error", err)
		}
		time.AfterFunc(time.Second, c.Interrupt)
		if _, err := c.Open(t.Context(), header("x")); !errors.Is(err, tunnel.ErrInterrupted) {
			t.Errorf("Open that was interrupted: %v, want ErrInterrupted", err)
		}
	})
}

func TestGuard(t *testing.T) {
	bad := errors.New("not trusted any more")
	tests := []struct {
		name    string
		expires time.Duration // 0: never
		change  time.Duration // when bundles change; 0: never
		stream  bool          // one is open
		drains  [2]time.Duration
		ends    time.Duration
	}{
		{name: "drains before the SVID expires, and ends when idle", expires: time.Hour, drains: [2]time.Duration{42 * time.Minute, 48*time.Minute + time.Second}, ends: 48*time.Minute + time.Second},
		{name: "ends with the SVID, whatever is open", expires: time.Hour, stream: true, drains: [2]time.Duration{42 * time.Minute, 48*time.Minute + time.Second}, ends: time.Hour},
		{name: "ends when the peer is not trusted any more", change: 5 * time.Minute, stream: true, ends: 5 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				changed := make(chan struct{}, 1)
				g := carrier.Guard{Changed: changed, Check: func() error { return bad }}
				begin := time.Now()
				if tt.expires > 0 {
					g.Expires = begin.Add(tt.expires)
				}
				if tt.change > 0 {
					time.AfterFunc(tt.change, func() { changed <- struct{}{} })
				}
				x, y := net.Pipe()
				l := carrier.Limits{}.WithDefaults()
				a := newConn(x, mux.Dialler, settings(l), tunnel.Info{}, l, g, zap.NewNop())
				b := newConn(y, mux.Acceptor, settings(l), tunnel.Info{}, l, carrier.Guard{}, zap.NewNop())
				defer b.Close()
				defer a.Close()
				if tt.stream {
					streams(t, a, b)
				}
				if tt.drains[1] > 0 {
					pass(tt.drains[0] - time.Second)
					if b.Info().Draining {
						t.Error("drains too early")
					}
					pass(tt.drains[1] - tt.drains[0] + time.Second)
					if !b.Info().Draining && !isDone(b.Done()) {
						t.Error("does not drain")
					}
				}
				<-b.Done()
				if d := time.Since(begin); d > tt.ends+time.Second {
					t.Errorf("ended after %s, want %s", d, tt.ends)
				}
			})
		})
	}
}
