package exchange

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/standing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tcptunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// progresses runs both gateways' progress until the test, or its bubble, ends.
func (w *world) progresses(t *testing.T, every time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, cfg := range []Config{w.egress.cfg, w.ingress.cfg} {
		cfg.ProgressEvery = every
		running.Go(func() { NewProgress(cfg).Run(ctx) })
	}
	t.Cleanup(func() { stop(); running.Wait() })
}

// told is the progress that a gateway recorded.
func (s *fakeSpool) told() []*crossingv1.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*crossingv1.Progress
	for _, f := range s.said {
		all = append(all, f.GetProgress())
	}
	return all
}

// wantProgress holds what a gateway recorded of its only crossing: of each interval
// once, with the bytes that had passed by then, and never more than at the end.
func wantProgress(t *testing.T, s *fakeSpool, want [][2]uint64) {
	t.Helper()
	a, got := s.account(t), s.told()
	if len(got) != len(want) {
		t.Errorf("%s: %d times, want %d: %v", s.name, len(got), len(want), got)
		return
	}
	for i, p := range got {
		if p.GetId() != a.Open.GetId() || p.GetKey().GetSequence() != a.Open.GetKey().GetSequence() || p.GetSide() != a.Open.GetSide() {
			t.Errorf("%s: of another crossing: %v", s.name, p)
		}
		after := p.GetAt().AsTime().Sub(a.Open.GetEnd().GetOpen().AsTime())
		if due := time.Duration(i+1) * time.Minute; after < due || after > due+time.Minute/looks {
			t.Errorf("%s: after %v, want it after %v", s.name, after, due)
		}
		if p.GetRequestBytes() != want[i][0] || p.GetResponseBytes() != want[i][1] {
			t.Errorf("%s: after %v %d and %d bytes, want %v", s.name, after, p.GetRequestBytes(), p.GetResponseBytes(), want[i])
		}
	}
	last := want[len(want)-1]
	if a.Close.GetRequestBytes() < last[0] || a.Close.GetResponseBytes() < last[1] {
		t.Errorf("%s: at the end %d and %d bytes, less than before", s.name, a.Close.GetRequestBytes(), a.Close.GetResponseBytes())
	}
}

// TestProgress: of whatever goes on for long, both gateways record each minute how far
// it has come. Here a byte passes each way every 37 seconds, from the beginning on.
func TestProgress(t *testing.T) {
	const pause = 37 * time.Second
	answers := [][2]uint64{{5, 1}, {5, 3}, {5, 4}}
	grpc := l7.Field{Name: "content-type", Value: "application/grpc"}
	streaming := func(kind string) func(r *upstream.Request) (*upstream.Response, error) {
		return func(r *upstream.Request) (*upstream.Response, error) {
			_, err := readAll(r)
			a := answer(200, "")
			a.Head.Fields = l7.Fields{{Name: "content-type", Value: kind}}
			a.Body = said{&slow{5, pause}, l7.Fields{{Name: "grpc-status", Value: "0"}}, false}
			return a, err
		}
	}
	for _, c := range []struct {
		name        string
		req         *listener.Request
		body        io.Reader
		destination func(r *upstream.Request) (*upstream.Response, error)
		want        [][2]uint64
	}{
		{"download", request("POST", "/v1/chat", "hello"), nil, streaming("text/plain"), answers},
		{"event stream", request("POST", "/v1/chat", "hello"), nil, streaming("text/event-stream"), answers},
		{"gRPC stream", request("POST", "/v1/Watch", "hello", grpc), nil, streaming("application/grpc"), answers},
		{"upload", request("POST", "/v1/chat", "hello"), &slow{5, pause}, nil, [][2]uint64{{1, 0}, {3, 0}, {4, 0}}},
		{"silence", request("POST", "/v1/chat", "hello"), nil, func(r *upstream.Request) (*upstream.Response, error) {
			_, err := readAll(r)
			<-time.After(150 * time.Second)
			return answer(200, ""), err
		}, [][2]uint64{{5, 0}, {5, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.progresses(t, 0)
				if c.body != nil {
					c.req.Body = io.NopCloser(c.body)
				}
				if c.destination != nil {
					w.destination = c.destination
				}
				w.ask(t, c.req)
				wantProgress(t, w.near, c.want)
				wantProgress(t, w.far, c.want)
				if !w.joined(t).GetAgree() {
					t.Errorf("record %v", w.joined(t))
				}
			})
		})
	}
}

// TestNoProgress of what does not go on for so long, nor of what has ended.
func TestNoProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.progresses(t, 0)
		w.destination = func(r *upstream.Request) (*upstream.Response, error) {
			_, err := readAll(r)
			<-time.After(59 * time.Second)
			return answer(200, "done"), err
		}
		w.ask(t, request("POST", "/v1/chat", "hello"))
		<-time.After(time.Hour)
		if n := len(w.near.told()) + len(w.far.told()); n != 0 {
			t.Errorf("%d frames of progress", n)
		}
	})
}

// pausing says a byte every so often, is silent then, and ends.
type pausing struct {
	*slow
	silence time.Duration
}

func (p pausing) Read(b []byte) (int, error) {
	n, err := p.slow.Read(b)
	if err != nil {
		<-time.After(p.silence)
	}
	return n, err
}

// TestProgressOfByteStream that is copied: bytes both ways, and then silence.
func TestProgressOfByteStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rawWorld(t, nil)
		w.progresses(t, 0)
		near, far := net.Pipe()
		w.plugged = near
		req := request("CONNECT", "", "")
		req.Body = io.NopCloser(pausing{&slow{3, 37 * time.Second}, 150 * time.Second})
		go io.Copy(io.Discard, far)
		time.AfterFunc(90*time.Second, func() { io.WriteString(far, "four") })
		time.AfterFunc(260*time.Second, func() { far.Close() })
		w.ask(t, req)
		want := [][2]uint64{{1, 0}, {3, 4}, {3, 4}, {3, 4}}
		wantProgress(t, w.near, want)
		wantProgress(t, w.far, want)
	})
}

// TestProgressOfBareConnection that goes on without the goroutine of its exchange,
// with what came early and, of TLS, the ClientHello counted. The stream is one in
// memory, which is copied, or one of a tunnel over TCP, which relays by itself.
func TestProgressOfBareConnection(t *testing.T) {
	t.Run("copied", func(t *testing.T) {
		w := tlsWorld(t, func(c *net.TCPConn) { io.Copy(c, c); c.Close() })
		testProgressOfBare(t, w, w.egress)
	})
	t.Run("relayed by its tunnel", func(t *testing.T) {
		w := tlsWorld(t, func(c *net.TCPConn) { io.Copy(c, c); c.Close() })
		testProgressOfBare(t, w, NewEgress(w.egress.cfg, newWire(t, w)))
	})
}

// wire is a tunnel over TCP between the two gateways of a world.
type wire struct{ tunnel.Tunnel }

func newWire(t *testing.T, w *world) wire {
	t.Helper()
	mesh := certstest.Mesh(t, "near.test", "far.test")
	anyone := func(spiffeid.ID) error { return nil }
	l, err := tcptunnel.Listen("127.0.0.1:0", carrier.Config{Source: mesh["far.test"].Source(far.Path()), Authorize: anyone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := tcptunnel.NewDialer(carrier.Config{Source: mesh["near.test"].Source(near.Path()), Authorize: anyone})
	here, err := d.Dial(t.Context(), l.Addr().String(), far, tunnel.Interactive)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	there, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	go func() {
		s, err := there.Accept(context.Background())
		if err == nil {
			w.ingress.ServeStream(context.Background(), there, s, func() { close(w.served) })
		}
	}()
	return wire{here}
}

func (w wire) Pick(context.Context, string, tunnel.Class) (tunnel.Tunnel, error) { return w, nil }

func testProgressOfBare(t *testing.T, w *world, e *Egress) {
	caller, local := tunneltest.TCPPair(t)
	r := &givenAway{reply: &reply{journal: w.journal}}
	e.ServeExchange(t.Context(), request("CONNECT", "", ""), r)
	text, over := hello(t, "llm.far.mesh"), make(chan struct{})
	go r.to.Serve(local, []byte(text[:100]), func() { local.Close(); close(over) })
	io.WriteString(caller, text[100:]+"more")
	if _, err := io.ReadFull(caller, make([]byte, len(text)+4)); err != nil {
		t.Fatal(err)
	}
	// An end counts what it has handed on, which may be heard of before.
	for _, a := range []*account{standingAccount(t, w.stands), standingAccount(t, w.standsFar)} {
		for a.count.Sent.Load() != uint64(len(text)+4) || a.count.Received.Load() != uint64(len(text)+4) {
			runtime.Gosched()
		}
	}
	n := uint64(len(text) + 4)
	for name, half := range map[string]Config{"near": w.egress.cfg, "far": w.ingress.cfg} {
		p := NewProgress(half)
		s := half.Spool.(*fakeSpool)
		p.look(time.Now()) // too early
		p.look(time.Now().Add(time.Minute))
		p.look(time.Now().Add(time.Minute)) // once
		p.look(time.Now().Add(3 * time.Minute))
		got := s.told()
		if len(got) != 2 {
			t.Fatalf("%s: %v", name, got)
		}
		for _, p := range got {
			if p.GetRequestBytes() != n || p.GetResponseBytes() != n || p.GetId() != s.account(t).Open.GetId() {
				t.Errorf("%s: %v, want %d bytes each way", name, p, n)
			}
		}
	}
	caller.Close()
	<-over
	<-w.served
	if rec := w.joined(t); rec.GetEgress().GetRequestBytes() != n || rec.GetIngress().GetResponseBytes() != n {
		t.Errorf("record %v", rec)
	}
}

// standingAccount is the account of the only crossing that is open.
func standingAccount(t *testing.T, s *standing.Standing) *account {
	t.Helper()
	var a *account
	s.Visit(func(c *standing.Crossing) { a = c.Bearer.(*account) }, func() {})
	if a == nil {
		t.Fatal("no crossing is open")
	}
	return a
}

// TestProgressNotRecorded: what cannot be written is said, once for each look, and
// the crossing goes on.
func TestProgressNotRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		core, logged := observer.New(zap.ErrorLevel)
		w.egress.cfg.Log = zap.New(core)
		w.progresses(t, 0)
		w.destination = func(r *upstream.Request) (*upstream.Response, error) {
			_, err := readAll(r)
			w.near.mu.Lock()
			w.near.fail = errors.New("disk")
			w.near.mu.Unlock()
			<-time.After(150 * time.Second)
			return answer(200, "done"), err
		}
		r := w.ask(t, request("POST", "/v1/chat", "hello"))
		if r.body.String() != "done" || !r.ended {
			t.Errorf("answer %q, ended %t", r.body.String(), r.ended)
		}
		if n := logged.FilterMessage("progress of crossings not recorded").Len(); n != 2 {
			t.Errorf("said %d times", n)
		}
		if n := len(w.far.told()); n != 2 {
			t.Errorf("the other gateway recorded %d", n)
		}
	})
}

// TestSpoolIsToldOfTheTransition: whether the opening must be on stable storage, and
// whether the crossing goes on while none can be written, at both gateways, of a
// crossing that is refused too.
func TestSpoolIsToldOfTheTransition(t *testing.T) {
	for _, c := range []struct {
		name            string
		change          func(*policyv1.Transition)
		durable, goesOn bool
	}{
		{"by default", func(*policyv1.Transition) {}, true, false},
		{"refuse", func(tr *policyv1.Transition) { tr.Record, tr.Outage = "durable", "refuse" }, true, false},
		{"alarm", func(tr *policyv1.Transition) { tr.Outage = "alarm" }, true, true},
		{"async and alarm", func(tr *policyv1.Transition) { tr.Record, tr.Outage = "async", "alarm" }, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := policytest.Estate(t, 1, func(p *policyv1.Policy) { c.change(p.Transitions[0]) })
			crossed, refused := newWorld(t, p), newWorld(t, p)
			crossed.ask(t, request("POST", "/v1/chat", "hello"))
			refused.unreachable = http.ErrServerClosed
			refused.ask(t, request("POST", "/v1/chat", "hello"))
			for _, s := range []*fakeSpool{crossed.near, crossed.far, refused.near} {
				if s.durable != c.durable || s.goesOn != c.goesOn || len(s.opened) != 1 {
					t.Errorf("%s: durable %t, goes on %t, %d openings", s.name, s.durable, s.goesOn, len(s.opened))
				}
			}
		})
	}
}
