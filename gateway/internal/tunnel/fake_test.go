package tunnel

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func gatewayID(env string) spiffeid.ID {
	return spiffeid.RequireFromString("spiffe://" + env + ".demo/sallyport/gateway/gw-1")
}

// pass lets virtual time go by.
func pass(d time.Duration) { <-time.After(d) }

// fakeTunnel is a tunnel whose peer is the test.
type fakeTunnel struct {
	peer    spiffeid.ID
	arrived chan *fakeStream
	done    chan struct{}

	mu       sync.Mutex
	streams  map[*fakeStream]bool
	extra    int // more streams for Info
	rtt      time.Duration
	carrier  string
	class    Class
	loss     float64
	silent   time.Duration
	dialed   bool
	draining bool
	process  uint16 // the generation of the peer's process
	closed   bool
	idle     chan struct{}
	talks    chan *talker  // of the streams that are opened, if they are talkers
	full     chan struct{} // where Open waits for room, if not nil, until Interrupt
}

// Interrupt makes Open that waits fail.
func (f *fakeTunnel) Interrupt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full != nil {
		close(f.full)
		f.full = nil
	}
}

func newFake(peer spiffeid.ID) *fakeTunnel {
	return &fakeTunnel{
		peer: peer, carrier: TCP, arrived: make(chan *fakeStream), done: make(chan struct{}),
		streams: map[*fakeStream]bool{}, idle: make(chan struct{}, 1),
	}
}

func (f *fakeTunnel) stream(h *crossingv1.Header) *fakeStream {
	s := &fakeStream{tunnel: f, header: h, done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams[s] = true
	return s
}

func (f *fakeTunnel) Open(_ context.Context, h *crossingv1.Header) (Stream, error) {
	if f.Info().Draining {
		return nil, fmt.Errorf("open stream: %w", ErrDraining)
	}
	f.mu.Lock()
	full := f.full
	f.mu.Unlock()
	if full != nil {
		<-full
		return nil, ErrInterrupted
	}
	s := f.stream(h)
	if f.talks == nil {
		return s, nil
	}
	t := newTalker(s)
	f.talks <- t
	return t, nil
}

func (f *fakeTunnel) Accept(ctx context.Context) (Stream, error) {
	select {
	case s := <-f.arrived:
		return s, nil
	case <-f.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fakeTunnel) Info() Info {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Info{
		Peer: f.peer, Carrier: f.carrier, Class: f.class, Dialed: f.dialed,
		Streams: len(f.streams) + f.extra, RoundTrip: f.rtt, Loss: f.loss, Silent: f.silent, Draining: f.draining,
		Generation: f.process,
	}
}

func (f *fakeTunnel) Drain(ctx context.Context) error {
	f.setDraining()
	for f.Info().Streams > 0 {
		select {
		case <-f.idle:
		case <-f.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *fakeTunnel) setDraining() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.draining = true
}

func (f *fakeTunnel) Done() <-chan struct{} { return f.done }

func (f *fakeTunnel) Close() error {
	f.mu.Lock()
	all := f.streams
	f.streams = map[*fakeStream]bool{}
	if !f.closed {
		f.closed = true
		close(f.done)
	}
	f.mu.Unlock()
	for s := range all {
		s.end(TunnelClosed)
	}
	return nil
}

// fakeStream remembers how it ended.
type fakeStream struct {
	tunnel *fakeTunnel
	header *crossingv1.Header
	once   sync.Once
	done   chan struct{}
	code   ResetCode // 0: in order; readable after done
}

func (s *fakeStream) end(code ResetCode) {
	s.once.Do(func() {
		s.code = code
		close(s.done)
		s.tunnel.mu.Lock()
		delete(s.tunnel.streams, s)
		s.tunnel.mu.Unlock()
		select {
		case s.tunnel.idle <- struct{}{}:
		default:
		}
	})
}

func (s *fakeStream) Read([]byte) (int, error)    { <-s.done; return 0, &ResetError{Code: s.code} }
func (s *fakeStream) Write(p []byte) (int, error) { return len(p), nil }
func (s *fakeStream) Header() *crossingv1.Header  { return s.header }
func (s *fakeStream) CloseWrite() error           { s.end(0); return nil }
func (s *fakeStream) Reset(code ResetCode)        { s.end(code) }
func (s *fakeStream) Done() <-chan struct{}       { return s.done }

var errDown = fmt.Errorf("dial: %w", syscall.ECONNREFUSED)

// fakeDialer dials fakes.
type fakeDialer struct {
	carrier string

	mu    sync.Mutex
	down  map[string]bool          // addresses that refuse
	slow  map[string]time.Duration // addresses that take a while
	calls map[string][]time.Time
	made  map[string][]*fakeTunnel
}

func newDialer() *fakeDialer {
	return &fakeDialer{
		carrier: TCP,
		down:    map[string]bool{}, slow: map[string]time.Duration{},
		calls: map[string][]time.Time{}, made: map[string][]*fakeTunnel{},
	}
}

func (d *fakeDialer) Dial(ctx context.Context, addr string, peer spiffeid.ID, class Class) (Tunnel, error) {
	d.mu.Lock()
	d.calls[addr] = append(d.calls[addr], time.Now())
	wait := d.slow[addr]
	d.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down[addr] {
		return nil, errDown
	}
	t := newFake(peer)
	t.carrier, t.class, t.dialed = d.carrier, class, true
	d.made[addr] = append(d.made[addr], t)
	return t, nil
}

func (d *fakeDialer) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *fakeDialer) dialled(addr string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.calls[addr])
}

func (d *fakeDialer) last(addr string) *fakeTunnel {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.made[addr]
	return all[len(all)-1]
}
