package exchange

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/standing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	agent = spiffeid.RequireFromString("spiffe://near.test/ai/agent")
	near  = spiffeid.RequireFromString("spiffe://near.test/sallyport/gateway/near-1")
	far   = spiffeid.RequireFromString("spiffe://far.test/sallyport/gateway/far-1")
)

// journal is what happened, in order, all over a world.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) note(event string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
}

// before holds that the first event came before the second.
func (j *journal) before(t *testing.T, first, second string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	a, b := slices.Index(j.events, first), slices.Index(j.events, second)
	if a < 0 || b < 0 || a > b {
		t.Errorf("want %q before %q in %q", first, second, j.events)
	}
}

func (j *journal) never(t *testing.T, event string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if slices.Contains(j.events, event) {
		t.Errorf("%q happened: %q", event, j.events)
	}
}

// fakeSpool records into memory.
type fakeSpool struct {
	name    string
	journal *journal
	run     string
	fail    error // of Open

	mu       sync.Mutex
	sequence uint64
	opened   []*crossingv1.Half
	closed   []*crossingv1.Close
	said     []*crossingv1.Frame
	durable  bool // of the last opening
	goesOn   bool
	refused  []crossingv1.Reason
	rejected []error // of frames that the control plane would not take
}

// check holds a frame as the control plane does. The caller holds mu.
func (s *fakeSpool) check(f *crossingv1.Frame) {
	id := near
	if s.name == "far" {
		id = far
	}
	f.Gateway, f.Run = id.String(), s.run
	data, err := crossing.MarshalFrame(f)
	if err == nil {
		f, err = crossing.UnmarshalFrame(data)
	}
	if err == nil {
		err = crossing.CheckFrame(f, id)
	}
	if err != nil {
		s.rejected = append(s.rejected, err)
	}
}

func (s *fakeSpool) RunID() string { return s.run }

func (s *fakeSpool) Next(string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	return s.sequence
}

func (s *fakeSpool) Say(f *crossingv1.Frame, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.said = append(s.said, f)
	s.check(f)
	return nil
}

func (s *fakeSpool) Open(h *crossingv1.Half, durable, goesOn bool) error {
	h = proto.CloneOf(h)
	s.journal.note(s.name + " open")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.opened, s.durable, s.goesOn = append(s.opened, h), durable, goesOn
	s.check(&crossingv1.Frame{Open: h})
	return nil
}

func (s *fakeSpool) Close(c *crossingv1.Close) error {
	c = proto.CloneOf(c)
	s.journal.note(s.name + " close")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = append(s.closed, c)
	s.check(&crossingv1.Frame{Close: c})
	return nil
}

func (s *fakeSpool) Refuse(reason crossingv1.Reason, _ netip.AddrPort, _, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, reason)
}

// account is what the spool has of its only crossing.
func (s *fakeSpool) account(t *testing.T) *crossing.Account {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.opened) != 1 || len(s.closed) > 1 {
		t.Fatalf("%s has %d openings and %d ends", s.name, len(s.opened), len(s.closed))
	}
	a := &crossing.Account{Open: s.opened[0]}
	if len(s.closed) == 1 {
		a.Close = s.closed[0]
	}
	return a
}

// halfStream is one end of a tunnel stream in memory.
type halfStream struct {
	header *crossingv1.Header
	in     *io.PipeReader
	out    *io.PipeWriter
	done   chan struct{}
	once   *sync.Once // of done; shared, as a reset ends both ends
	ends   *atomic.Int32
	broke  *atomic.Pointer[broke]
}

// broke is who reset a stream.
type broke struct {
	by   *halfStream
	code tunnel.ResetCode
}

// reset is why the stream was reset, as this end sees it.
func (s *halfStream) reset() error {
	if b := s.broke.Load(); b != nil {
		return &tunnel.ResetError{Code: b.code, Remote: b.by != s}
	}
	return nil
}

func newStream(h *crossingv1.Header) (a, b *halfStream) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	done, once, ends, reset := make(chan struct{}), new(sync.Once), new(atomic.Int32), new(atomic.Pointer[broke])
	a = &halfStream{header: h, in: r1, out: w2, done: done, once: once, ends: ends, broke: reset}
	b = &halfStream{header: h, in: r2, out: w1, done: done, once: once, ends: ends, broke: reset}
	return a, b
}

func (s *halfStream) Header() *crossingv1.Header { return s.header }
func (s *halfStream) Done() <-chan struct{}      { return s.done }

func (s *halfStream) CloseWrite() error {
	if s.ends.Add(1) == 2 {
		defer s.once.Do(func() { close(s.done) })
	}
	return s.out.Close()
}

func (s *halfStream) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.reset()
	}
	return n, err
}

func (s *halfStream) Write(p []byte) (int, error) {
	if err := s.reset(); err != nil || len(p) == 0 {
		return 0, err
	}
	n, err := s.out.Write(p)
	if err != nil {
		err = errors.Join(s.reset(), err)
	}
	return n, err
}

func (s *halfStream) Reset(code tunnel.ResetCode) {
	s.once.Do(func() {
		s.broke.Store(&broke{s, code})
		s.in.CloseWithError(io.ErrClosedPipe)  // what the other end writes
		s.out.CloseWithError(io.ErrClosedPipe) // and reads
		close(s.done)
	})
}

// fakeTunnel opens streams that an ingress half serves.
type fakeTunnel struct {
	tunnel.Tunnel
	peer  spiffeid.ID
	serve func(s tunnel.Stream)
	open  error
	lied  func(h *crossingv1.Header)
}

func (f *fakeTunnel) Info() tunnel.Info { return tunnel.Info{Peer: f.peer, Carrier: "TCP"} }

func (f *fakeTunnel) Open(_ context.Context, h *crossingv1.Header) (tunnel.Stream, error) {
	if f.open != nil {
		return nil, f.open
	}
	h = proto.CloneOf(h)
	if f.lied != nil {
		f.lied(h)
	}
	a, b := newStream(h)
	go f.serve(b)
	return a, nil
}

// world is two gateways and what is around them.
type world struct {
	journal     *journal
	near, far   *fakeSpool
	egress      *Egress
	ingress     *Ingress
	tunnel      *fakeTunnel
	unreachable error // of Pick
	class       tunnel.Class
	destination func(r *upstream.Request) (*upstream.Response, error)
	stranger    func(*net.TCPConn) // the destination of a byte stream; nil if it is not there
	plugged     net.Conn           // to the destination, in the stranger's place
	served      chan struct{}      // closed when the ingress half is through
	policies    *xdsclient.Policies
	there       *policy.Policy // in force at far, where near's is prepared; nil: near's
	unarmed     bool           // far has none
	acts        atomic.Pointer[act.Set]
	stands      *standing.Standing // of the near gateway
	standsFar   *standing.Standing
}

// distant is what the far gateway holds.
type distant struct{ *world }

func (d distant) Policies() *xdsclient.Policies {
	switch {
	case d.unarmed:
		return nil
	case d.there != nil:
		return &xdsclient.Policies{Current: d.there, Prepared: d.policies.Current}
	}
	return d.policies
}

func (w *world) Policies() *xdsclient.Policies { return w.policies }

func (w *world) Acts() *act.Set { return w.acts.Load() }

func (w *world) Pick(_ context.Context, _ string, class tunnel.Class) (tunnel.Tunnel, error) {
	w.class = class
	return w.tunnel, w.unreachable
}

func (w *world) RoundTrip(_ context.Context, _ upstream.Destination, r *upstream.Request) (*upstream.Response, error) {
	w.journal.note("destination asked")
	return w.destination(r)
}

// Connect gives one end of a connection whose other end plays the destination.
func (w *world) Connect(context.Context, upstream.Destination) (net.Conn, *crossingv1.Peer, error) {
	w.journal.note("destination asked")
	if w.plugged != nil {
		return w.plugged, &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT}, nil
	}
	if w.stranger == nil {
		return nil, nil, upstream.ErrNoEndpoint
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	far, err := l.Accept()
	if err != nil {
		return nil, nil, err
	}
	go w.stranger(far.(*net.TCPConn))
	return near, &crossingv1.Peer{Attach: crossingv1.Attach_PLAINTEXT}, nil
}

func newWorld(t testing.TB, p *policy.Policy) *world {
	t.Helper()
	if p == nil {
		p = policytest.Estate(t, 1, nil)
	}
	j := &journal{}
	w := &world{
		journal: j, served: make(chan struct{}), policies: &xdsclient.Policies{Current: p},
		near: &fakeSpool{name: "near", journal: j, run: crossing.NewRun()},
		far:  &fakeSpool{name: "far", journal: j, run: crossing.NewRun()},
	}
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		body, err := readAll(r)
		return answer(200, "you said "+body), err
	}
	nearAuthz, farAuthz := authz.New(near, "near", w), authz.New(far, "far", distant{w})
	w.stands = standing.New(func() standing.Reviewer { return nearAuthz.Review() })
	w.standsFar = standing.New(func() standing.Reviewer { return farAuthz.Review() })
	w.ingress = NewIngress(Config{Self: far, Authz: farAuthz, Spool: w.far, Standing: w.standsFar, Log: zap.NewNop()}, w)
	w.tunnel = &fakeTunnel{peer: far}
	w.tunnel.serve = func(s tunnel.Stream) {
		w.ingress.ServeStream(context.Background(), &fakeTunnel{peer: near}, s, func() { close(w.served) })
	}
	t.Cleanup(func() {
		for _, s := range []*fakeSpool{w.near, w.far} {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, err := range s.rejected {
				t.Errorf("%s wrote what the control plane would reject: %v", s.name, err)
			}
		}
	})
	w.egress = NewEgress(Config{Self: near, Authz: nearAuthz, Spool: w.near, Standing: w.stands, Log: zap.NewNop()}, w)
	return w
}

// readAll is a request's content.
func readAll(r *upstream.Request) (string, error) {
	if r.Body == nil {
		return "", nil
	}
	text, err := io.ReadAll(r.Body)
	return string(text), err
}

// said is an answer's content.
type said struct {
	io.Reader
	trailers l7.Fields
	ready    bool
}

func (s said) Close() error        { return nil }
func (s said) Ready() bool         { return s.ready }
func (s said) Trailers() l7.Fields { return s.trailers }

func answer(status int, body string, trailers ...l7.Field) *upstream.Response {
	return &upstream.Response{
		Head: l7.ResponseHead{Status: status, Fields: l7.Fields{{Name: "content-type", Value: "text/plain"}}},
		Body: said{strings.NewReader(body), trailers, false},
		Peer: &crossingv1.Peer{Attach: crossingv1.Attach_MTLS},
	}
}

// reply is what a caller gets.
type reply struct {
	journal  *journal
	head     *l7.ResponseHead
	body     strings.Builder
	trailers l7.Fields
	ended    bool
	aborted  bool
	flushed  bool // since the head
	gone     bool // the caller takes nothing more

	goneAfterHead bool
	atEnd         func() // called when the caller has the end
}

func (r *reply) WriteHead(h *l7.ResponseHead, end bool) error {
	if r.gone {
		return io.ErrClosedPipe
	}
	if end && r.atEnd != nil {
		r.atEnd()
	}
	r.journal.note("caller has head")
	r.head, r.ended = &l7.ResponseHead{Status: h.Status, Fields: slices.Clone(h.Fields)}, end
	return nil
}

func (r *reply) Flush() error {
	if r.gone {
		return io.ErrClosedPipe
	}
	r.flushed = r.head != nil
	return nil
}

func (r *reply) Write(p []byte) (int, error) {
	if r.gone || r.goneAfterHead {
		return 0, io.ErrClosedPipe
	}
	return r.body.Write(p)
}

func (r *reply) End(trailers l7.Fields) error {
	if r.gone {
		return io.ErrClosedPipe
	}
	r.journal.note("caller has end")
	if r.atEnd != nil {
		r.atEnd()
	}
	r.trailers, r.ended = slices.Clone(trailers), true
	return nil
}

func (r *reply) Abort() { r.aborted = true }

// ask makes one exchange and waits until both gateways are through with it.
func (w *world) ask(t *testing.T, req *listener.Request) *reply {
	t.Helper()
	return w.askInto(t, req, &reply{journal: w.journal})
}

func (w *world) askInto(t *testing.T, req *listener.Request, r *reply) *reply {
	t.Helper()
	w.egress.ServeExchange(t.Context(), req, r)
	w.near.mu.Lock()
	crossed := len(w.near.opened) == 1 && w.near.opened[0].GetKey().GetIngress() != "" && w.tunnel.open == nil
	w.near.mu.Unlock()
	if crossed {
		<-w.served
	}
	return r
}

// atHand is content that has all come.
type atHand struct{ io.ReadCloser }

func (atHand) Ready() bool   { return true }
func (atHand) Buffered() int { return 0 }

// counting counts what is written to a stream, and whatever else happens there.
type counting struct {
	tunnel.Stream
	writes *atomic.Int32
}

func (c counting) Write(p []byte) (int, error) {
	if len(p) > 0 {
		c.writes.Add(1)
	}
	return c.Stream.Write(p)
}

func request(method, path, body string, fields ...l7.Field) *listener.Request {
	req := &listener.Request{
		Caller:   listener.Caller{ID: agent, Attach: crossingv1.Attach_MTLS, SVID: "sha256:00"},
		Head:     l7.RequestHead{Method: method, Authority: "llm.far.mesh:8000", Path: path, Fields: fields},
		Body:     http.NoBody,
		Trailers: &l7.Fields{},
	}
	if body != "" {
		req.Body = io.NopCloser(strings.NewReader(body))
	}
	return req
}
