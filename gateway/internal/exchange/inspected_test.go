package exchange

import (
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hear"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// spoken is a protocol as its services speak it.
type spoken struct {
	name, path string
	token      string // an event that brings one
	answer     string // to what was not asked for as a stream
}

var spokens = []spoken{
	{
		"openai", "/v1/chat/completions",
		`data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"small","service_tier":"default","system_fingerprint":null,"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"Xy12"}` + "\n\n",
		`{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,"model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"It is Paris.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":500,"completion_tokens":4,"total_tokens":504}}`,
	},
	{
		"anthropic", "/v1/messages",
		"event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}` + "\n\n",
		`{"id":"msg_013Zva2CMHLNnjNjJJKqJ2EF","type":"message","role":"assistant","model":"small","content":[{"type":"text","text":"It is Paris."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":500,"output_tokens":4}}`,
	},
}

// chatOf is a chat of that many bytes, of messages as they are written.
func chatOf(size int) string {
	const end = `"}],"max_tokens":1024,"stream":true}`
	var b strings.Builder
	b.WriteString(`{"model":"small","messages":[{"role":"system","content":"You answer briefly."}`)
	for b.Len()+300 < size {
		b.WriteString(`,{"role":"user","content":"What is the capital of \"France\"?\nAnd of the country east of it, where they speak German, too?"},{"role":"assistant","content":"It is Paris; and Berlin."}`)
	}
	b.WriteString(`,{"role":"user","content":"`)
	for b.Len()+len(end) < size {
		b.WriteByte('x')
	}
	return b.String() + end
}

// served is a policy of a service that speaks it, and allows the model alone if asked.
func (s spoken) served(t testing.TB, when *policyv1.Condition) *policy.Policy {
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = s.name + "://:8000"
		if when != nil {
			p.Intents[0].When, p.Intents[0].Condition = `ai.model in ["small"]`, when
		}
	})
}

// silentSpool is a spool that only counts, for many at once.
type silentSpool struct {
	counted
	sequences atomic.Uint64
}

func (s *silentSpool) Next(string) uint64 { return s.sequences.Add(1) }

// come is a content that has all come.
type come struct{ bytes.Reader }

func comes(text []byte) *come {
	c := new(come)
	c.Reset(text)
	return c
}

func (*come) Ready() bool         { return true }
func (*come) Close() error        { return nil }
func (*come) Trailers() l7.Fields { return nil }
func (c *come) Buffered() int     { return c.Len() }

// played is one end of a stream whose other end has said all that it will.
type played struct {
	bytes.Reader
	header *crossingv1.Header
	waiter tunnel.Waiter // for its end
}

func (p *played) OnDone(w tunnel.Waiter) (before bool) {
	before, p.waiter = p.waiter != nil, w
	return before
}

func (p *played) Header() *crossingv1.Header     { return p.header }
func (*played) Write(b []byte) (int, error)      { return len(b), nil }
func (*played) CloseWrite() error                { return nil }
func (*played) Reset(tunnel.ResetCode)           {}
func (*played) Done() <-chan struct{}            { return nil }
func (p *played) play(text []byte) tunnel.Stream { p.Reader.Reset(text); return p }

// stage has one exchange made at one gateway again and again. Everything around the
// gateway is there at once and costs little.
type stage struct {
	spoken
	egress  *Egress
	ingress *Ingress
	content []byte
	header  *crossingv1.Header // what the egress gateway says of it
	request []byte             // what that sends
	reply   []byte             // what the ingress gateway sends
	asks    int                // of the destination
	stream  played
	tunnel.Tunnel
}

// newStage is of gateways that read content, and decide by it, or of others.
func newStage(t testing.TB, p spoken, content string, inspects bool) *stage {
	t.Helper()
	w := newWorld(t, p.served(t, nil))
	if inspects {
		w = reading(t, p.served(t, is("ai.model", "small")))
	}
	s := &stage{spoken: p, content: []byte(content)}
	near, far := w.egress.cfg, w.ingress.cfg
	near.Spool, far.Spool = &silentSpool{counted: counted{run: crossing.NewRun()}}, &silentSpool{counted: counted{run: crossing.NewRun()}}
	s.egress, s.ingress = NewEgress(near, s), NewIngress(far, s)
	var sent bytes.Buffer
	out := l7.NewFrameWriter(&sent)
	head := s.head()
	for _, err := range []error{out.RequestHead(&head, false), out.Data(s.content), out.Trailers(nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.request = bytes.Clone(sent.Bytes())
	sent.Reset()
	for _, err := range []error{out.ResponseHead(&s.answered().Head, false), out.Data([]byte(s.answer)), out.Trailers(nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.reply = sent.Bytes()
	if got := s.depart(t.Context()); got != (heardBy{200, len(s.answer)}) {
		t.Fatalf("%s: the caller has %+v", p.name, got)
	}
	if asked := s.arrive(t.Context()); !asked {
		t.Fatalf("%s: the ingress gateway does not let it pass", p.name)
	}
	return s
}

func (s *stage) head() l7.RequestHead {
	return l7.RequestHead{
		Method: "POST", Authority: "llm.far.mesh:8000", Path: s.path,
		Fields: l7.Fields{{Name: "content-type", Value: "application/json"}, {Name: "content-length", Value: strconv.Itoa(len(s.content))}},
	}
}

// depart makes the exchange at the egress gateway.
func (s *stage) depart(ctx context.Context) heardBy {
	req := &listener.Request{
		Caller: listener.Caller{ID: agent, Attach: crossingv1.Attach_MTLS, SVID: "sha256:00"},
		Head:   s.head(), Body: comes(s.content), Trailers: &l7.Fields{},
	}
	var got heardBy
	s.egress.ServeExchange(ctx, req, &got)
	return got
}

// arrive makes it at the ingress gateway, and says whether the destination was asked.
func (s *stage) arrive(ctx context.Context) (asked bool) {
	t := fakeTunnel{peer: near}
	s.header.Sequence++ // or it would be another's copy
	s.stream.header = s.header
	before := s.asks
	s.ingress.ServeStream(ctx, &t, s.stream.play(s.request), func() {})
	return s.asks > before
}

// Pick, Open and Info are of a tunnel whose peer has answered already.
func (s *stage) Pick(context.Context, string, tunnel.Class) (tunnel.Tunnel, error) { return s, nil }

func (*stage) Info() tunnel.Info { return tunnel.Info{Peer: far, Carrier: "TCP"} }

func (s *stage) Open(_ context.Context, h *crossingv1.Header) (tunnel.Stream, error) {
	if s.header == nil {
		s.header = proto.CloneOf(h)
	}
	return s.stream.play(s.reply), nil
}

// RoundTrip and Connect are of a destination that answers at once.
func (s *stage) RoundTrip(_ context.Context, _ upstream.Destination, r *upstream.Request) (*upstream.Response, error) {
	s.asks++
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return s.answered(), nil
}

func (*stage) Connect(context.Context, upstream.Destination) (net.Conn, *crossingv1.Peer, error) {
	return nil, nil, upstream.ErrNoEndpoint
}

func (s *stage) answered() *upstream.Response {
	return &upstream.Response{
		Head: l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-type", Value: "application/json"}}},
		Body: comes([]byte(s.answer)), Peer: &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT},
	}
}

// heardBy is what a caller gets.
type heardBy struct{ status, bytes int }

func (r *heardBy) WriteHead(h *l7.ResponseHead, _ bool) error { r.status = h.Status; return nil }
func (*heardBy) Flush() error                                 { return nil }
func (r *heardBy) Write(p []byte) (int, error)                { r.bytes += len(p); return len(p), nil }
func (*heardBy) End(l7.Fields) error                          { return nil }
func (*heardBy) Abort()                                       {}

// listens is what hears an answer that streams through a gateway.
func (s *stage) listens(t testing.TB) *hear.Answer {
	t.Helper()
	head := s.head()
	v := s.egress.cfg.Authz.Egress(agent, &head, time.Now())
	a := s.egress.cfg.newAccount(crossing.NewRun(), crossingv1.Side_EGRESS, &v, time.Now())
	h := a.says(&v, &l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-type", Value: "text/event-stream"}}})
	return h
}
