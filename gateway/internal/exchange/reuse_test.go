package exchange

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// busy is a tunnel of which it is known when all its streams were served.
type busy struct {
	*fakeTunnel
	streams sync.WaitGroup
}

func (b *busy) Pick(context.Context, string, tunnel.Class) (tunnel.Tunnel, error) { return b, nil }

func (b *busy) Open(ctx context.Context, h *crossingv1.Header) (tunnel.Stream, error) {
	b.streams.Add(1)
	return b.fakeTunnel.Open(ctx, h)
}

// TestMemoryIsNobodyElses: of many exchanges at a time, quick ones and slow ones, whose
// callers leave at any moment, each caller that stays has its own answer, and each
// crossing is recorded to its end.
func TestMemoryIsNobodyElses(t *testing.T) {
	w := newWorld(t, nil)
	b := &busy{fakeTunnel: w.tunnel}
	w.tunnel.serve = func(s tunnel.Stream) {
		w.ingress.ServeStream(context.Background(), &fakeTunnel{peer: near}, newTelling(s), func() {
			s.Reset(tunnel.DestinationGone)
			b.streams.Done()
		})
	}
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		body, err := readAll(r)
		if rand.IntN(4) == 0 {
			<-time.After(rand.N(60 * time.Millisecond)) // to either side of what is quick
		}
		return answer(200, body+" at "+r.Head.Path+" of "+r.Head.Fields.Get("x-asks")), err
	}
	addr, token, stop := attach(t, NewEgress(w.egress.cfg, b))
	var callers sync.WaitGroup
	for caller := range 16 {
		callers.Go(func() {
			for round := range 25 {
				ask(t, addr, token, fmt.Sprintf("%d-%d", caller, round))
			}
		})
	}
	callers.Wait()
	stop() // all have ended at the egress gateway
	b.streams.Wait()
	for _, s := range []*fakeSpool{w.near, w.far} {
		if n := len(s.opened); n < 16*25/2 || n != len(s.closed) {
			t.Errorf("%s opened %d and closed %d", s.name, n, len(s.closed))
		}
	}
}

// telling is a stream that tells of its end, as those of tunnels do.
type telling struct {
	tunnel.Stream
	mu     sync.Mutex // guards what follows
	over   bool
	waiter tunnel.Waiter
}

func newTelling(s tunnel.Stream) *telling {
	t := &telling{Stream: s}
	go func() {
		<-s.Done()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.over = true
		t.tell()
	}()
	return t
}

// tell tells who waits. The caller holds mu.
func (t *telling) tell() {
	if t.waiter != nil {
		go t.waiter.StreamDone()
		t.waiter = nil
	}
}

// OnDone implements tunnel.Notifier.
func (t *telling) OnDone(w tunnel.Waiter) (before bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before = t.waiter != nil
	if t.waiter = w; t.over {
		t.tell()
	}
	return before
}

// attach makes an egress gateway listen. It gives its address, a caller's token, and
// what ends it.
func attach(t *testing.T, e *Egress) (addr, token string, stop func()) {
	t.Helper()
	domain := certstest.Mesh(t, "near.test")["near.test"]
	source := domain.Source(near.Path())
	l, err := listener.New(listener.Config{Loopback: "127.0.0.1:0", Source: source, Handler: e, Refuser: nowhere{}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	return l.LoopbackAddr().String(), domain.JWT(agent.Path(), source.ID().String()), func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// ask makes two exchanges in one connection. One caller of three leaves before it is
// answered, at each.
func ask(t *testing.T, addr, token, name string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	br := bufio.NewReader(c)
	for _, name := range []string{name + "a", name + "b"} {
		fmt.Fprintf(c, "POST /v1/%s HTTP/1.1\r\nHost: llm.far.mesh:8000\r\nx-asks: %s\r\nproxy-authorization: Bearer %s\r\ncontent-length: %d\r\n\r\n%s",
			name, name, token, len(name), name)
		if rand.IntN(3) == 0 {
			<-time.After(rand.N(30 * time.Millisecond))
			return
		}
		r, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != name+" at /v1/"+name+" of "+name {
			t.Errorf("%s has the answer %q, %v", name, body, err)
		}
	}
}
