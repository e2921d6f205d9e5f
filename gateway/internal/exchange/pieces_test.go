package exchange

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// finishing keeps what is the last of a stream.
type finishing struct {
	counting
	last *bytes.Buffer
}

func (f finishing) Finish(p []byte) (int, error) {
	f.last.Write(p)
	n, err := f.Stream.Write(p)
	f.Stream.CloseWrite()
	return n, err
}

// TestHeadAlone: an answer that is its head alone, such as gRPC's Trailers-Only,
// goes through the tunnel with the end of its stream, and stays what it is.
func TestHeadAlone(t *testing.T) {
	w := newWorld(t, nil)
	var writes atomic.Int32
	var last bytes.Buffer
	w.tunnel.serve = func(s tunnel.Stream) {
		w.ingress.ServeStream(t.Context(), &fakeTunnel{peer: near}, finishing{counting{s, &writes}, &last}, func() { close(w.served) })
	}
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		io.Copy(io.Discard, r.Body)
		a := answer(200, "")
		a.Head.Fields = l7.Fields{{Name: "grpc-status", Value: "5"}}
		a.Ended = true
		return a, nil
	}
	r := w.ask(t, request("POST", "/v1/chat", "hello", l7.Field{Name: "content-type", Value: "application/grpc"}))
	if !r.ended || r.head.Fields.Get("grpc-status") != "5" || r.body.Len() > 0 {
		t.Errorf("answer %+v %q", r.head, r.body.String())
	}
	if writes.Load() > 0 || last.Len() == 0 {
		t.Errorf("%d pieces before the last, which has %d bytes", writes.Load(), last.Len())
	}
	if rec := w.joined(t); !rec.GetAgree() {
		t.Errorf("record %v", rec)
	}
}

// TestDelaysOfEvents: each piece of an event stream is timed at both gateways, and
// nothing else is.
func TestDelaysOfEvents(t *testing.T) {
	for kind, want := range map[string]int{"text/event-stream; charset=utf-8": 3, "text/plain": 0} {
		w := newWorld(t, nil)
		var mu sync.Mutex
		pieces := map[crossingv1.Side]int{}
		delayed := func(side crossingv1.Side, delay time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			pieces[side]++
			if delay < 0 || delay > time.Minute {
				t.Errorf("a piece was held up for %s", delay)
			}
		}
		w.egress.cfg.Delayed, w.ingress.cfg.Delayed = delayed, delayed
		w.destination = func(*upstream.Request) (*upstream.Response, error) {
			resp := answer(200, "")
			resp.Head.Fields = l7.Fields{{Name: "content-type", Value: kind}}
			resp.Body = said{Reader: iotest.OneByteReader(strings.NewReader("abc"))}
			return resp, nil
		}
		if r := w.ask(t, request("POST", "/v1/chat", "")); r.body.String() != "abc" {
			t.Fatalf("answer %q", r.body.String())
		}
		if pieces[crossingv1.Side_INGRESS] != want || pieces[crossingv1.Side_EGRESS] != want {
			t.Errorf("%s: pieces timed %v, want %d at each gateway", kind, pieces, want)
		}
	}
}
