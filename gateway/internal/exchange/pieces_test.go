package exchange

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
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
