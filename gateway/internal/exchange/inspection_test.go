package exchange

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// BenchmarkExchange: what does a chat of 2 KiB cost a gateway that reads it, and one that
// does not, without what is around it?
func BenchmarkExchange(b *testing.B) {
	for _, p := range spokens {
		for name, inspects := range map[string]bool{"bare": false, "inspected": true} {
			s := newStage(b, p, chatOf(2<<10), inspects)
			b.Run(p.name+"/egress/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.depart(b.Context())
				}
			})
			b.Run(p.name+"/ingress/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if !s.arrive(b.Context()) {
						b.Fatal("it does not pass")
					}
				}
			})
		}
	}
}

// BenchmarkHeard: what does a token that streams by cost a gateway that reads it?
func BenchmarkHeard(b *testing.B) {
	for _, p := range spokens {
		b.Run(p.name, func(b *testing.B) {
			h, token := newStage(b, p, chatOf(2<<10), true).listens(b), []byte(p.token)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Pass(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestHeardTokens: a token that streams by is heard, goes on as it is, and allocates
// nothing, in one piece or two.
func TestHeardTokens(t *testing.T) {
	for _, p := range spokens {
		h, token := newStage(t, p, chatOf(2<<10), true).listens(t), []byte(p.token)
		hear := func(piece []byte) {
			if got, err := h.Pass(piece); err != nil || !bytes.Equal(got, piece) {
				t.Fatalf("%s: %q went on as %q: %v", p.name, piece, got, err)
			}
		}
		hear(token) // learns the names, and makes the buffers
		n := testing.AllocsPerRun(100, func() { hear(token); hear(token[:60]); hear(token[60:]) })
		if n != 0 {
			t.Errorf("%s: a token allocates %v times", p.name, n/2)
		}
		if got := h.Record().GetPieces(); got != 203 {
			t.Errorf("%s: heard %d tokens of 203", p.name, got)
		}
	}
}

// TestStreamMemory: what an answer keeps of a gateway while it streams by is little, and
// hardly more if it is read.
func TestStreamMemory(t *testing.T) {
	const most = 32 << 10
	for _, p := range spokens {
		for _, gateway := range []struct {
			name string
			open func(*opened)
		}{{"egress", (*opened).depart}, {"ingress", (*opened).arrive}} {
			bare := newOpened(t, p, false).keeps(t, gateway.open)
			inspected := newOpened(t, p, true).keeps(t, gateway.open)
			t.Logf("goal\t%s, a stream at the %s gateway, added\tbytes\t%d", p.name, gateway.name, inspected-bare)
			t.Logf("goal\t%s, a stream at the %s gateway, uninspected\tbytes\t%d", p.name, gateway.name, bare)
			if inspected-bare > most {
				t.Errorf("%s, %s: a stream keeps %d bytes, and %d if nobody reads it", p.name, gateway.name, inspected, bare)
			}
		}
	}
}

// openStreams are open at a time.
const openStreams = 1000

// opened are exchanges in the middle of their answers.
type opened struct {
	*stage
	middle  sync.WaitGroup // until all are there
	over    chan struct{}
	numbers atomic.Uint64
	begins  []byte // the answer up to there, as the ingress gateway sends it
}

func newOpened(t testing.TB, p spoken, inspects bool) *opened {
	t.Helper()
	o := &opened{stage: newStage(t, p, chatOf(2<<10), inspects), over: make(chan struct{})}
	var sent bytes.Buffer
	out := l7.NewFrameWriter(&sent)
	if err := out.ResponseHead(&o.streams().Head, false); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := out.Data([]byte(p.token)); err != nil {
			t.Fatal(err)
		}
	}
	o.begins = sent.Bytes()
	o.egress, o.ingress = NewEgress(o.egress.cfg, o), NewIngress(o.ingress.cfg, o)
	return o
}

// waits is an answer that is not over. It says when it is waited for more of it.
type waits struct {
	played
	in   *opened
	came bool
}

func (w *waits) Read(p []byte) (int, error) {
	n, err := w.played.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if !w.came {
		w.came = true
		w.in.middle.Done()
	}
	<-w.in.over
	return 0, io.ErrUnexpectedEOF
}

func (*waits) Ready() bool         { return false }
func (*waits) Close() error        { return nil }
func (*waits) Trailers() l7.Fields { return nil }

func (o *opened) Pick(context.Context, string, tunnel.Class) (tunnel.Tunnel, error) { return o, nil }

func (o *opened) Open(context.Context, *crossingv1.Header) (tunnel.Stream, error) {
	w := &waits{in: o}
	w.play(o.begins)
	return w, nil
}

func (o *opened) RoundTrip(_ context.Context, _ upstream.Destination, r *upstream.Request) (*upstream.Response, error) {
	_, err := io.Copy(io.Discard, r.Body)
	return o.streams(), err
}

func (o *opened) streams() *upstream.Response {
	w := &waits{in: o}
	w.play(bytes.Repeat([]byte(o.token), 10))
	r := o.answered()
	r.Head.Fields[0].Value, r.Body = "text/event-stream", w
	return r
}

func (o *opened) depart() { o.stage.depart(context.Background()) }

func (o *opened) arrive() {
	s := &played{header: proto.CloneOf(o.header)}
	s.header.Sequence += o.numbers.Add(1)
	o.ingress.ServeStream(context.Background(), &fakeTunnel{peer: near}, s.play(o.request), func() {})
}

// keeps is how many bytes a stream keeps that is open, with its goroutine.
func (o *opened) keeps(t testing.TB, open func(*opened)) int64 {
	t.Helper()
	before := liveBytes()
	o.middle.Add(openStreams)
	var all sync.WaitGroup
	for range openStreams {
		all.Go(func() { open(o) })
	}
	o.middle.Wait()
	each := (liveBytes() - before) / openStreams
	close(o.over)
	all.Wait()
	return each
}

// liveBytes are on the heap, and of stacks.
func liveBytes() int64 {
	runtime.GC()
	runtime.GC() // pools keep what they have for one round
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
