package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/quictunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tcptunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// acceptor is a carrier's listener.
type acceptor interface {
	Accept(ctx context.Context) (tunnel.Tunnel, error)
	Close() error
}

// carried calls f with both ends of a tunnel over each carrier.
func carried(t *testing.T, f func(t *testing.T, here, there tunnel.Tunnel)) {
	mesh := certstest.Mesh(t, "near.test", "far.test")
	anyone := func(spiffeid.ID) error { return nil }
	ours := carrier.Config{Source: mesh["near.test"].Source(near.Path()), Authorize: anyone}
	theirs := carrier.Config{Source: mesh["far.test"].Source(far.Path()), Authorize: anyone}
	run := func(name string, l acceptor, addr string, d tunnel.Dialer) {
		t.Run(name, func(t *testing.T) {
			defer l.Close()
			here, err := d.Dial(t.Context(), addr, far, tunnel.Interactive)
			if err != nil {
				t.Fatal(err)
			}
			defer here.Close()
			there, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer there.Close()
			f(t, here, there)
		})
	}
	tcp, err := tcptunnel.Listen("127.0.0.1:0", theirs)
	if err != nil {
		t.Fatal(err)
	}
	run("TCP", tcp, tcp.Addr().String(), tcptunnel.NewDialer(ours))
	quic, err := quictunnel.Listen("127.0.0.1:0", theirs)
	if err != nil {
		t.Fatal(err)
	}
	run("QUIC", quic, quic.Addr().String(), quictunnel.NewDialer(ours))
}

// events are an answer's content, each in a piece of its own, until the destination
// breaks off.
type events struct{ left []string }

func (e *events) Read(p []byte) (int, error) {
	if len(e.left) == 0 {
		return 0, errors.New("connection reset")
	}
	n := copy(p, e.left[0])
	e.left = e.left[1:]
	return n, nil
}

// endlessly is a request that nobody reads to its end.
type endlessly struct{}

func (endlessly) Read(p []byte) (int, error) { return len(p), nil }

// TestEventsBreakOff: a destination that breaks off after some events was asked, and
// has said so much: its caller gets the head, each event, and no end. That is never
// the gateway's own answer, upon which callers ask again. It is so whether or not the
// caller still sends.
func TestEventsBreakOff(t *testing.T) {
	const rounds = 100
	var sent []string
	for i := range 10 {
		sent = append(sent, fmt.Sprintf("data: {\"delta\":\"event %d\"}\n\n", i))
	}
	want := strings.Join(sent, "")
	carried(t, func(t *testing.T, here, there tunnel.Tunnel) {
		for i := range rounds {
			w := newWorld(t, nil)
			asked, uploading := 0, i%2 == 0
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				if asked++; !uploading {
					readAll(r)
				}
				a := answer(200, "")
				a.Body = said{&events{sent}, nil, false}
				return a, nil
			}
			served := make(chan error, 1)
			go func() {
				s, err := there.Accept(t.Context())
				served <- err
				if err == nil {
					w.ingress.ServeStream(t.Context(), there, s, func() { close(w.served) })
				}
			}()
			egress := NewEgress(w.egress.cfg, wire{here})
			r, req := &reply{journal: w.journal}, request("POST", "/v1/chat", "hello")
			if uploading {
				req.Body = io.NopCloser(endlessly{})
			}
			egress.ServeExchange(t.Context(), req, r)
			if err := <-served; err != nil {
				t.Fatal(err)
			}
			<-w.served
			if r.head == nil || r.head.Status != 200 || r.body.String() != want || !r.aborted || r.ended || asked != 1 {
				t.Fatalf("asked %d times, the caller has %v and %q, aborted %t, ended %t",
					asked, r.head, r.body.String(), r.aborted, r.ended)
			}
			for _, s := range []*fakeSpool{w.near, w.far} {
				end := s.account(t).Close
				if end.GetCause() != crossingv1.Cause_DESTINATION_FAILED || end.GetResponseBytes() != uint64(len(want)) {
					t.Fatalf("%s: %s after %d bytes, want %d", s.name, end.GetCause(), end.GetResponseBytes(), len(want))
				}
			}
		}
	})
}

// TestCallerHasLeft: nobody is asked for a caller who has left before anything of his
// request was read. Both gateways count what he said of it.
func TestCallerHasLeft(t *testing.T) {
	carried(t, func(t *testing.T, here, there tunnel.Tunnel) {
		w := newWorld(t, nil)
		served := make(chan error, 1)
		go func() {
			s, err := there.Accept(t.Context())
			served <- err
			if err == nil {
				<-s.Done()
				w.ingress.ServeStream(t.Context(), there, s, func() { close(w.served) })
			}
		}()
		req := request("POST", "/v1/chat", "")
		req.Body = io.NopCloser(&events{[]string{"half a", " request"}})
		r := &reply{journal: w.journal}
		NewEgress(w.egress.cfg, wire{here}).ServeExchange(t.Context(), req, r)
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		<-w.served
		w.journal.never(t, "destination asked")
		for _, s := range []*fakeSpool{w.near, w.far} {
			a := s.account(t)
			if a.Close.GetCause() != crossingv1.Cause_CALLER_GONE || a.Close.GetRequestBytes() != uint64(len("half a request")) {
				t.Errorf("%s: %s after %d bytes", s.name, a.Close.GetCause(), a.Close.GetRequestBytes())
			}
		}
	})
}
