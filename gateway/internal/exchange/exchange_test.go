package exchange

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/baseurl"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http1"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// joined is the record that the two halves come to.
func (w *world) joined(t *testing.T) *crossingv1.Record {
	t.Helper()
	return crossing.Join(w.near.account(t), w.far.account(t))
}

func TestAllowed(t *testing.T) {
	w := newWorld(t, nil)
	r := w.ask(t, request("POST", "/v1/chat", "hello"))
	if r.head.Status != 200 || r.body.String() != "you said hello" || !r.ended {
		t.Fatalf("answer %+v %q", r.head, r.body.String())
	}
	w.journal.before(t, "near open", "far open")
	w.journal.before(t, "far open", "destination asked")
	w.journal.before(t, "near close", "caller has end")
	rec := w.joined(t)
	if rec.GetState() != crossingv1.Record_JOINED || rec.GetEgress().GetRequestBytes() != 5 || rec.GetIngress().GetResponseBytes() != 14 {
		t.Errorf("record %v", rec)
	}
	if got := r.head.Fields.Get("sallyport-crossing"); got != rec.GetId() {
		t.Errorf("the caller was told crossing %q, the record is %q", got, rec.GetId())
	}
}

// TestEndBehindTheHead: a stream is not let go of before its request has ended,
// also if the request's head said that nothing follows.
func TestEndBehindTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var h *crossingv1.Header
		w.tunnel.lied = func(said *crossingv1.Header) { h = proto.CloneOf(said) }
		w.ask(t, request("POST", "/v1/chat", ""))
		h.Sequence++
		near, far := newStream(h)
		over := make(chan struct{})
		go w.ingress.ServeStream(t.Context(), &fakeTunnel{peer: w.egress.cfg.Self}, far, func() { close(over) })
		head := request("POST", "/v1/chat", "").Head
		if err := l7.NewFrameWriter(near).RequestHead(&head, true); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, near); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case <-over:
			t.Error("the stream was let go of before the request had ended")
		default:
		}
		if err := near.CloseWrite(); err != nil {
			t.Error(err)
		}
		<-over
	})
}

// TestAtHand: a request that is at hand goes into the tunnel in one piece, and so
// does an answer; what they are is no different.
func TestAtHand(t *testing.T) {
	w := newWorld(t, nil)
	var writes atomic.Int32
	w.tunnel.serve = func(s tunnel.Stream) {
		w.ingress.ServeStream(t.Context(), &fakeTunnel{peer: near}, counting{s, &writes}, func() { close(w.served) })
	}
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		body, err := readAll(r)
		a := answer(200, "")
		a.Body = said{strings.NewReader("you said " + body), l7.Fields{{Name: "x-sum", Value: "2"}}, true}
		return a, err
	}
	req := request("POST", "/v1/chat", "hello")
	req.Body = atHand{req.Body}
	*req.Trailers = l7.Fields{{Name: "x-check", Value: "1"}}
	r := w.ask(t, req)
	if r.head.Status != 200 || r.body.String() != "you said hello" || !r.ended || r.trailers.Get("x-sum") != "2" {
		t.Errorf("answer %+v %q %v", r.head, r.body.String(), r.trailers)
	}
	if n := writes.Load(); n != 1 {
		t.Errorf("the answer was written in %d pieces, want one", n)
	}
	if rec := w.joined(t); !rec.GetAgree() || rec.GetEgress().GetRequestBytes() != 5 || rec.GetIngress().GetResponseBytes() != 14 {
		t.Errorf("record %v", rec)
	}
}

// TestNotRecorded: no record, no crossing, at either gateway.
func TestNotRecorded(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(w *world)
	}{
		{"near", func(w *world) { w.near.fail = errors.New("disk") }},
		{"far", func(w *world) { w.far.fail = errors.New("disk") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			c.fail(w)
			r := w.ask(t, request("POST", "/v1/chat", "hello"))
			if r.head.Status != 503 || !strings.Contains(r.body.String(), "NOT_RECORDED") {
				t.Errorf("status %d: %s", r.head.Status, r.body.String())
			}
			w.journal.never(t, "destination asked")
		})
	}
}

func TestDeniedAtEgress(t *testing.T) {
	w := newWorld(t, nil)
	r := w.ask(t, request("POST", "/v1/admin", "hello"))
	if r.head.Status != 403 || !strings.Contains(r.body.String(), "ml-team") || strings.Contains(r.body.String(), "no-admin") {
		t.Errorf("status %d: %s", r.head.Status, r.body.String())
	}
	w.journal.before(t, "near open", "caller has head")
	w.journal.never(t, "far open")
	a := w.near.account(t)
	if rec := crossing.Join(a, nil); rec.GetState() != crossingv1.Record_DENIED || a.Open.GetKey().GetIngress() != "" {
		t.Errorf("record %v", rec)
	}
	f := &crossingv1.Frame{Gateway: near.String(), Run: w.near.run, Open: a.Open}
	if err := crossing.CheckFrame(f, near); err != nil {
		t.Errorf("the control plane would reject it: %v", err)
	}
}

// TestRefusedByPeer: the ingress gateway's word is final, and both say so.
func TestRefusedByPeer(t *testing.T) {
	w := newWorld(t, nil)
	w.tunnel.lied = func(h *crossingv1.Header) { h.Policy = &crossingv1.PolicyRef{Serial: 7, Revision: "sha256:07"} }
	r := w.ask(t, request("POST", "/v1/chat", "hello"))
	if r.head.Status != 403 || !strings.Contains(r.body.String(), "POLICY_MISMATCH") {
		t.Errorf("status %d: %s", r.head.Status, r.body.String())
	}
	w.journal.never(t, "destination asked")
	e, i := w.near.account(t), w.far.account(t)
	if e.Close.GetCause() != crossingv1.Cause_REFUSED_BY_PEER || i.Close.GetCause() != crossingv1.Cause_REFUSED || i.Open.GetEnd().GetReason() != crossingv1.Reason_POLICY_MISMATCH {
		t.Errorf("near %v, far %v", e.Close, i.Open.GetEnd())
	}
}

// TestForgedHeader: a header that no half could be made of is refused before
// anything else.
func TestForgedHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		say  func(h *crossingv1.Header)
	}{
		{"no id", func(h *crossingv1.Header) { h.Id = "" }},
		{"no sequence", func(h *crossingv1.Header) { h.Sequence = 0 }},
		{"no run", func(h *crossingv1.Header) { h.Run = "x" }},
		{"no source", func(h *crossingv1.Header) { h.Source = "agent" }},
		{"no destination", func(h *crossingv1.Header) { h.Destination = "llm" }},
		{"endless proof", func(h *crossingv1.Header) { h.Proof = strings.Repeat("x", crossing.MaxProof+1) }},
		{"endless label", func(h *crossingv1.Header) { h.Label = strings.Repeat("x", crossing.MaxLabel+1) }},
		{"endless revision", func(h *crossingv1.Header) { h.Policy.Revision = strings.Repeat("x", 5000) }},
		{"no trace", func(h *crossingv1.Header) { h.Traceparent = "00-0-0-0" }},
		{"unknown kind", func(h *crossingv1.Header) { h.Kind = 9 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.tunnel.lied = c.say
			w.ask(t, request("POST", "/v1/chat", ""))
			if len(w.far.refused) != 1 || w.far.refused[0] != crossingv1.Reason_MALFORMED || len(w.far.opened) != 0 {
				t.Errorf("refused %v, opened %d", w.far.refused, len(w.far.opened))
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(w *world)
	}{
		{"no tunnel", func(w *world) { w.unreachable = errors.New("nobody there") }},
		{"tunnel lost", func(w *world) { w.tunnel.open = tunnel.ErrDraining }},
		{"destination", func(w *world) {
			w.destination = func(*upstream.Request) (*upstream.Response, error) { return nil, upstream.ErrNoEndpoint }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			c.fail(w)
			r := w.ask(t, request("POST", "/v1/chat", "hello"))
			if r.head.Status/100 != 5 || !strings.Contains(r.body.String(), "UNREACHABLE") {
				t.Errorf("status %d: %s", r.head.Status, r.body.String())
			}
			w.near.account(t)
			if c.name == "destination" {
				if i := w.far.account(t); i.Close.GetDetail() != upstream.ErrNoEndpoint.Error() {
					t.Errorf("the far end says %q, want %q", i.Close.GetDetail(), upstream.ErrNoEndpoint)
				}
			}
		})
	}
}

// breaking gives some bytes and then an error.
type breaking struct {
	io.Reader
	err error
}

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

func (b breaking) Close() error { return nil }

// TestAnswerBreaksOff: the caller must not take half an answer for a whole one.
func TestAnswerBreaksOff(t *testing.T) {
	for _, ready := range []bool{false, true} {
		testAnswerBreaksOff(t, ready)
	}
}

func testAnswerBreaksOff(t *testing.T, ready bool) {
	w := newWorld(t, nil)
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		readAll(r)
		a := answer(200, "")
		a.Body = said{breaking{strings.NewReader("half an ans"), errors.New("connection reset")}, nil, ready}
		return a, nil
	}
	r := w.ask(t, request("POST", "/v1/chat", "hello"))
	if !r.aborted || r.ended {
		t.Errorf("aborted %t, ended %t", r.aborted, r.ended)
	}
	e, i := w.near.account(t), w.far.account(t)
	if e.Close.GetCause() != crossingv1.Cause_DESTINATION_FAILED || i.Close.GetCause() != crossingv1.Cause_DESTINATION_FAILED {
		t.Errorf("near %s, far %s", e.Close.GetCause(), i.Close.GetCause())
	}
}

// TestCallerBreaksOff: the destination must not take half a request for a whole
// one.
func TestCallerBreaksOff(t *testing.T) {
	w := newWorld(t, nil)
	whole := false
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		_, err := readAll(r)
		whole = err == nil
		return nil, err
	}
	req := request("POST", "/v1/chat", "x")
	req.Body = breaking{strings.NewReader("half a requ"), io.ErrUnexpectedEOF}
	w.ask(t, req)
	if whole {
		t.Error("the destination read a whole request")
	}
	e, i := w.near.account(t), w.far.account(t)
	if e.Close.GetCause() != crossingv1.Cause_CALLER_GONE || i.Close.GetCause() != crossingv1.Cause_CALLER_GONE {
		t.Errorf("near %s, far %s", e.Close.GetCause(), i.Close.GetCause())
	}
}

// TestContentThatIsNone: a caller whose content is not well formed has not gone
// away. It is told, and the record says whose fault it was.
func TestContentThatIsNone(t *testing.T) {
	for _, ready := range []bool{false, true} {
		testContentThatIsNone(t, ready)
	}
}

func testContentThatIsNone(t *testing.T, ready bool) {
	w := newWorld(t, nil)
	whole := false
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		_, err := readAll(r)
		whole = err == nil
		return nil, err
	}
	req := request("POST", "/v1/chat", "x")
	req.Body = breaking{strings.NewReader("half a requ"), &http1.Error{Status: 400, Reason: crossingv1.Reason_MALFORMED, Detail: "a chunk has no size"}}
	if ready {
		req.Body = atHand{req.Body}
	}
	r := w.ask(t, req)
	if whole {
		t.Error("the destination read a whole request")
	}
	if r.head.Status != 400 || !strings.Contains(r.body.String(), "MALFORMED") || r.aborted {
		t.Errorf("status %d, aborted %t: %s", r.head.Status, r.aborted, r.body.String())
	}
	if e := w.near.account(t); e.Close.GetCause() != crossingv1.Cause_PROTOCOL_ERROR || e.Close.GetReason() != crossingv1.Reason_MALFORMED {
		t.Errorf("near %v", e.Close)
	}
}

// TestEarlyAnswer: a destination may answer without reading; both gateways
// still count the same bytes.
func TestEarlyAnswer(t *testing.T) {
	w := newWorld(t, nil)
	w.destination = func(*upstream.Request) (*upstream.Response, error) { return answer(413, "too much"), nil }
	r := w.ask(t, request("POST", "/v1/chat", strings.Repeat("x", 200<<10)))
	if r.head.Status != 413 || r.body.String() != "too much" {
		t.Fatalf("status %d: %q", r.head.Status, r.body.String())
	}
	if rec := w.joined(t); !rec.GetAgree() {
		t.Errorf("differences %v: near %d bytes, far %d", rec.GetDifferences(), rec.GetEgress().GetRequestBytes(), rec.GetIngress().GetRequestBytes())
	}
}

func TestCallerTakesNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.askInto(t, request("POST", "/v1/chat", "hello"), &reply{journal: w.journal, gone: true})
	if c := w.near.account(t).Close.GetCause(); c != crossingv1.Cause_CALLER_GONE {
		t.Errorf("near closed as %s", c)
	}
	w.far.account(t)
}

// TestWhoIsAnsweredMayLeave: when the caller gets the end of the answer, nobody waits
// for it to leave any more. The peer gateway would learn of it, perhaps before it has
// noted that the answer is whole.
func TestWhoIsAnsweredMayLeave(t *testing.T) {
	nothing := answer(204, "")
	nothing.Ended = true
	for name, answer := range map[string]*upstream.Response{"content": answer(200, "body"), "none": nothing} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.destination = func(*upstream.Request) (*upstream.Response, error) { return answer, nil }
			var d *departure
			ends, watched := 0, false
			d = newDeparture(t.Context(), request("POST", "/v1/chat", "hello"), &reply{journal: w.journal, atEnd: func() { ends, watched = ends+1, d.watched }})
			d.serve(w.egress)
			<-w.served
			if ends != 1 || watched {
				t.Errorf("the answer ended %d times, and somebody waited for the caller to leave: %t", ends, watched)
			}
		})
	}
}

func TestTrailersBothWays(t *testing.T) {
	w := newWorld(t, nil)
	var got l7.Fields
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		readAll(r)
		got = r.Body.Trailers()
		return answer(200, "body", l7.Field{Name: "x-sum", Value: "2"}), nil
	}
	req := request("POST", "/v1/chat", "hello")
	*req.Trailers = l7.Fields{{Name: "x-check", Value: "1"}}
	r := w.ask(t, req)
	if got.Get("x-check") != "1" || r.trailers.Get("x-sum") != "2" {
		t.Errorf("the destination got %v, the caller %v", got, r.trailers)
	}
}

func TestGRPCStatus(t *testing.T) {
	for _, c := range []struct {
		name    string
		answer  func() *upstream.Response
		want    uint32
		message string
	}{
		{"in trailers", func() *upstream.Response {
			return answer(200, "message", l7.Field{Name: "grpc-status", Value: "5"}, l7.Field{Name: "grpc-message", Value: "no%20h%C3%A9llo%0A"})
		}, 5, `no héllo\n`},
		{"trailers only", func() *upstream.Response {
			a := answer(200, "")
			a.Head.Fields = l7.Fields{{Name: "grpc-status", Value: "7"}, {Name: "grpc-message", Value: "not you"}}
			a.Ended = true
			return a
		}, 7, "not you"},
		{"not a number", func() *upstream.Response {
			return answer(200, "", l7.Field{Name: "grpc-status", Value: "-1"})
		}, 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, policytest.Estate(t, 1, func(p *policyv1.Policy) { p.Intents[0].Allow.Service = "health" }))
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				readAll(r)
				return c.answer(), nil
			}
			req := request("POST", "/v1/Check", "m", l7.Field{Name: "content-type", Value: "application/grpc"})
			req.Head.Authority = "llm.far.mesh:9000"
			w.ask(t, req)
			rec := w.joined(t)
			if rec.GetEgress().GetStatus() != c.want || rec.GetIngress().GetStatus() != c.want || rec.GetOperation().GetName() != "v1/Check" {
				t.Errorf("status %d and %d, name %q", rec.GetEgress().GetStatus(), rec.GetIngress().GetStatus(), rec.GetOperation().GetName())
			}
			if rec.GetEgress().GetMessage() != c.message || rec.GetIngress().GetMessage() != c.message {
				t.Errorf("messages %q and %q, want %q", rec.GetEgress().GetMessage(), rec.GetIngress().GetMessage(), c.message)
			}
		})
	}
}

// TestHeadAtTheDestination: what the gateway says of the caller is the
// gateway's alone.
func TestHeadAtTheDestination(t *testing.T) {
	w := newWorld(t, nil)
	var head l7.RequestHead
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		head = *r.Head
		head.Fields = slices.Clone(head.Fields) // they are used again
		return answer(200, ""), nil
	}
	r := w.ask(t, request("POST", "/v1/chat?q=secret", "",
		l7.Field{Name: "x-forwarded-client-cert", Value: "URI=spiffe://near.test/ai/other"},
		l7.Field{Name: "sallyport-crossing", Value: "forged"},
		l7.Field{Name: "traceparent", Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		l7.Field{Name: "accept", Value: "text/plain"}))
	f := head.Fields
	if !strings.Contains(f.Get("x-forwarded-client-cert"), "URI="+agent.String()) || f.Get("sallyport-crossing") != r.head.Fields.Get("sallyport-crossing") {
		t.Errorf("fields %v", f)
	}
	if tp := f.Get("traceparent"); !strings.HasPrefix(tp, "00-4bf92f3577b34da6a3ce929d0e0e4736-") || strings.Contains(tp, "00f067aa0ba902b7") {
		t.Errorf("traceparent %q", tp)
	}
	if f.Get("accept") != "text/plain" || head.Path != "/v1/chat?q=secret" {
		t.Errorf("path %q, fields %v", head.Path, f)
	}
	if name := w.joined(t).GetOperation().GetName(); name != "POST /v1/chat" {
		t.Errorf("the record says %q: a query is not its business", name)
	}
}

func TestFromBaseURL(t *testing.T) {
	for _, c := range []struct{ name, authority, path, wantAuthority, wantPath string }{
		{"named by host", "llm.far.mesh:8000", "/v1/chat", "llm.far.mesh:8000", "/v1/chat"},
		{"by path", "127.0.0.1:8080", "/llm.far.mesh:8000/v1/chat?x=1", "llm.far.mesh:8000", "/v1/chat?x=1"},
		{"by path, IPv6", "[::1]:8080", "/llm.far.mesh/v1", "llm.far.mesh", "/v1"},
		{"by path, localhost", "localhost", "/llm.far.mesh/", "llm.far.mesh", "/"},
		{"nothing follows", "127.0.0.1", "/llm.far.mesh", "127.0.0.1", "/llm.far.mesh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := &l7.RequestHead{Method: "GET", Authority: c.authority, Path: c.path}
			baseurl.Resolve(head)
			if head.Authority != c.wantAuthority || head.Path != c.wantPath {
				t.Errorf("%q %q, want %q %q", head.Authority, head.Path, c.wantAuthority, c.wantPath)
			}
		})
	}
}

func TestRefuseKnown(t *testing.T) {
	w := newWorld(t, nil)
	head := &l7.RequestHead{Method: "GET", Authority: "no such\nhost", Path: "/v1\xff?secret"}
	id, owner := w.egress.RefuseKnown(listener.Caller{ID: agent}, head, crossingv1.Reason_MALFORMED, "a bare\nLF")
	h := w.near.account(t).Open
	if id != h.GetId() || h.GetEnd().GetReason() != crossingv1.Reason_MALFORMED || h.GetEnd().GetDetail() != `a bare\nLF` || h.GetEnd().GetContentSeen() {
		t.Errorf("id %q, half %v", id, h)
	}
	if h.GetOperation().GetAuthority() != `"no such\nhost"` || h.GetOperation().GetName() != `GET /v1\xff` {
		t.Errorf("asked for %v", h.GetOperation())
	}
	if owner != "team" || h.GetTransition().GetOwner() != owner {
		t.Errorf("owner %q, transition %v", owner, h.GetTransition())
	}
	w.near.fail = errors.New("disk")
	if id, _ := w.egress.RefuseKnown(listener.Caller{ID: agent}, nil, crossingv1.Reason_MALFORMED, ""); id != "" {
		t.Errorf("an id without a record: %q", id)
	}
}
