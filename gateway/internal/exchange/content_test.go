package exchange

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http1"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/opening"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	"github.com/sallyport-mesh/sallyport/gateway/internal/quota"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// toolCall is a request by MCP whose head names that tool.
func toolCall(name, content string) *listener.Request {
	return request("POST", "/v1/chat", content,
		l7.Field{Name: "content-type", Value: "application/json"}, l7.Field{Name: "mcp-protocol-version", Value: "2026-07-28"},
		l7.Field{Name: "mcp-method", Value: "tools/call"}, l7.Field{Name: "mcp-name", Value: name})
}

// ofModel is a request whose head names that model.
func ofModel(model, content string) *listener.Request {
	return request("POST", "/v1/chat", content, l7.Field{Name: "content-type", Value: "application/json"}, l7.Field{Name: "x-model", Value: model})
}

const addCall = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add"}}`

// long is a content with a model, of at least that many bytes; last follows its text.
func long(n int, last string) string {
	return `{"model":"small","text":"` + strings.Repeat("x", n) + last
}

// inPieces is a request whose content comes byte by byte.
func inPieces(req *listener.Request) *listener.Request {
	req.Body = io.NopCloser(iotest.OneByteReader(req.Body))
	return req
}

func TestAgreeingContent(t *testing.T) {
	for name, req := range map[string]func() *listener.Request{
		"tool":           func() *listener.Request { return toolCall("add", addCall) },
		"model":          func() *listener.Request { return ofModel("small", long(10, `"}`)) },
		"model, no body": func() *listener.Request { return ofModel("small", "") },
		"no model":       func() *listener.Request { return ofModel("small", `{"a":1}`) },
		"as may be held": func() *listener.Request { return ofModel("small", long(hold.Usual-len(long(0, `"}`)), `"}`)) },
		"one byte more":  func() *listener.Request { return ofModel("small", long(hold.Usual-len(long(0, `"}`))+1, `"}`)) },
		"larger":         func() *listener.Request { return ofModel("small", long(5*hold.Usual, "\"}\n")) },
	} {
		for how, sent := range map[string]func(*listener.Request) *listener.Request{"as it comes": asItComes, "in pieces": inPieces} {
			t.Run(name+" "+how, func(t *testing.T) {
				content, err := io.ReadAll(req().Body)
				if err != nil {
					t.Fatal(err)
				}
				w := newWorld(t, nil)
				r := w.ask(t, sent(req()))
				if r.head.Status != 200 || r.body.String() != "you said "+string(content) || !r.ended {
					t.Errorf("answer %+v, %d bytes to %d", r.head, r.body.Len(), len(content))
				}
				if rec := w.joined(t); !rec.GetAgree() || rec.GetIngress().GetRequestBytes() != uint64(len(content)) {
					t.Errorf("record %v", rec)
				}
			})
		}
	}
}

// TestHeldInFull: what agrees goes into the tunnel as a whole, trailers and all.
func TestHeldInFull(t *testing.T) {
	w := newWorld(t, nil)
	req := inPieces(toolCall("add", addCall))
	*req.Trailers = l7.Fields{{Name: "x-sum", Value: "1"}}
	var ready bool
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		ready = r.Body.Ready()
		text, err := readAll(r)
		return answer(200, text+r.Body.Trailers().Get("x-sum")), err
	}
	if r := w.ask(t, req); r.body.String() != addCall+"1" || !ready {
		t.Errorf("answer %q, ready %t", r.body.String(), ready)
	}
}

func TestDisagreeingContent(t *testing.T) {
	for _, c := range []struct {
		name   string
		req    func() *listener.Request
		detail string
		id     any // of the JSON-RPC answer; false if it is none
	}{
		{"tool", func() *listener.Request { return toolCall("rm", addCall) }, `mcp-name is "rm", /params/name is "add"`, 7.},
		{"head alone", func() *listener.Request { return toolCall("=?base64?", addCall) }, "mcp-name is not well formed", nil},
		{"no content", func() *listener.Request { return toolCall("add", "") }, "it ends too early", nil},
		{"batch", func() *listener.Request { return toolCall("add", "["+addCall+"]") }, "the content is a batch", nil},
		{"cut off", func() *listener.Request { return toolCall("add", addCall[:len(addCall)-1]) }, "it ends too early", 7.},
		{"model", func() *listener.Request { return ofModel("small", `{"model":"large"}`) }, `x-model is "small", /model is "large"`, false},
		{"as may be held", func() *listener.Request {
			return ofModel("small", long(hold.Usual-len(long(0, `","model":1}`)), `","model":1}`))
		}, "a key that matters comes twice", false},
	} {
		for how, sent := range map[string]func(*listener.Request) *listener.Request{"as it comes": asItComes, "in pieces": inPieces} {
			t.Run(c.name+" "+how, func(t *testing.T) {
				w := newWorld(t, nil)
				r := w.ask(t, sent(c.req()))
				refused(t, w, r, 400, crossingv1.Cause_REFUSED, crossingv1.Reason_DISAGREES)
				w.journal.never(t, "far open")
				rec := crossing.Join(w.near.account(t), nil)
				if rec.GetState() != crossingv1.Record_REFUSED || !strings.Contains(rec.GetEgress().GetDetail(), c.detail) || rec.GetEgress().GetRequestBytes() != 0 {
					t.Errorf("record %v", rec)
				}
				var said map[string]any
				if err := json.Unmarshal([]byte(r.body.String()), &said); err != nil {
					t.Fatal(err)
				}
				if c.id == false {
					if !strings.Contains(said["detail"].(string), c.detail) || said["crossing"] != rec.GetId() {
						t.Errorf("answer %v", said)
					}
				} else if said["jsonrpc"] != "2.0" || said["id"] != c.id || said["error"] == nil {
					t.Errorf("answer %v", said)
				}
			})
		}
	}
}

// partly is a destination that counts what it got, and whether it took that for whole.
type partly struct {
	text  []byte
	whole bool
}

func (p *partly) serve(r *upstream.Request) (*upstream.Response, error) {
	var err error
	p.text, err = io.ReadAll(r.Body)
	p.whole = err == nil
	return nil, err
}

// TestDisagreesLate: what is too large to be held goes on until it disagrees, and
// the destination never has its last byte.
func TestDisagreesLate(t *testing.T) {
	for name, last := range map[string]string{"twice": `","model":"large"}`, "cut off": `"`, "cut off in the text": "", "more behind": `"}{}`} {
		for how, sent := range map[string]func(*listener.Request) *listener.Request{"as it comes": asItComes, "in pieces": inPieces} {
			t.Run(name+" "+how, func(t *testing.T) {
				w := newWorld(t, nil)
				content := long(3*hold.Usual, last)
				var got partly
				w.destination = got.serve
				r := w.ask(t, sent(ofModel("small", content)))
				refused(t, w, r, 400, crossingv1.Cause_REFUSED, crossingv1.Reason_DISAGREES)
				if got.whole || len(got.text) >= len(content) || !strings.HasPrefix(content, string(got.text)) {
					t.Errorf("the destination has %d of %d bytes, whole %t", len(got.text), len(content), got.whole)
				}
				e, i := w.near.account(t).Close, w.far.account(t).Close
				if e.GetDetail() == "" || i.GetCause() != crossingv1.Cause_REFUSED_BY_PEER {
					t.Errorf("near %v, far %v", e, i)
				}
			})
		}
	}
}

// TestDisagreesAtIngress: an egress gateway that does not look is none that is
// believed.
func TestDisagreesAtIngress(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		asked   bool
	}{
		"held":   {`{"model":"small"}`, false},
		"empty":  {"", false},
		"larger": {long(3*hold.Usual, `","Model":1}`), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			var got partly
			w.destination = got.serve
			req := request("POST", "/v1/chat", c.content)
			w.tunnel.lied = func(*crossingv1.Header) {
				if name == "empty" {
					req.Head.Fields.Set("mcp-method", "x")
					return
				}
				req.Head.Fields.Set("x-model", map[bool]string{true: "small", false: "large"}[c.asked])
			}
			r := w.ask(t, req)
			refused(t, w, r, 400, crossingv1.Cause_REFUSED_BY_PEER, crossingv1.Reason_DISAGREES)
			if !c.asked {
				w.journal.never(t, "destination asked")
			}
			if got.whole || len(got.text) > 0 && len(got.text) >= len(c.content) {
				t.Errorf("the destination has %d of %d bytes, whole %t", len(got.text), len(c.content), got.whole)
			}
			i := w.far.account(t).Close
			if i.GetCause() != crossingv1.Cause_REFUSED || i.GetReason() != crossingv1.Reason_DISAGREES || i.GetDetail() == "" {
				t.Errorf("far %v", i)
			}
		})
	}
}

// TestHeldBreaksOff: of a caller that breaks off while its request is held, the
// destination hears nothing.
func TestHeldBreaksOff(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		cause  crossingv1.Cause
		reason crossingv1.Reason
	}{
		"gone":        {io.ErrUnexpectedEOF, crossingv1.Cause_CALLER_GONE, crossingv1.Reason_REASON_UNSPECIFIED},
		"not content": {&http1.Error{Status: 400, Reason: crossingv1.Reason_MALFORMED, Detail: "a chunk has no size"}, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			req := ofModel("small", "x")
			req.Body = breaking{strings.NewReader(long(10, "")), c.err}
			w.ask(t, req)
			w.journal.never(t, "destination asked")
			e, i := w.near.account(t).Close, w.far.account(t).Close
			if e.GetCause() != c.cause || e.GetReason() != c.reason || i.GetCause() != c.cause {
				t.Errorf("near %v, far %v", e, i)
			}
		})
	}
}

// TestHeldHasAnEnd: a request is not held for longer than it may take, and does not
// count any more then.
func TestHeldHasAnEnd(t *testing.T) {
	for name, limits := range map[string]Limits{"silence": {Silence: time.Minute}, "total": {Total: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.egress.cfg.Limits, w.egress.cfg.Quota = limits, quota.New(1)
				req := ofModel("small", "x")
				req.Body = silent{make(chan struct{})}
				began := time.Now()
				r := w.ask(t, req)
				refused(t, w, r, 504, crossingv1.Cause_REFUSED, crossingv1.Reason_OVER_LIMIT)
				if took := time.Since(began); took != time.Minute {
					t.Errorf("took %v", took)
				}
				if !w.egress.cfg.Quota.Enter(agent.String()) {
					t.Error("it still counts")
				}
			})
		})
	}
}

// TestHeldCounts: what a request was held for is of the time it may take, too.
func TestHeldCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.egress.cfg.Limits.Total = time.Minute
		req := ofModel("small", "x")
		req.Body = breaking{&late{strings.NewReader(`{}`), 40 * time.Second}, io.EOF}
		w.destination = func(r *upstream.Request) (*upstream.Response, error) {
			<-time.After(40 * time.Second)
			return answer(200, ""), nil
		}
		began := time.Now()
		r := &reply{journal: w.journal}
		w.egress.ServeExchange(t.Context(), req, r)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("took %v", took)
		}
		<-w.served
		refused(t, w, r, 504, crossingv1.Cause_REFUSED, crossingv1.Reason_OVER_LIMIT)
	})
}

// late is a content that takes its time to begin.
type late struct {
	io.Reader
	by time.Duration
}

func (l *late) Read(p []byte) (int, error) {
	<-time.After(l.by)
	l.by = 0
	return l.Reader.Read(p)
}

// TestFollowTooLate: what came to its end before there was a stream ends the stream.
func TestFollowTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := silent{make(chan struct{})}
		w := pace.NewWatch(closing{held}, pace.Limits{Total: time.Second})
		<-held.closed
		_, s := newStream(nil)
		w = w.Follow(s, pace.Limits{})
		if s.reset() == nil || !w.TooLate() {
			t.Errorf("reset %v, too late %t", s.reset(), w.TooLate())
		}
	})
}

// TestTooLargeWhileHeld: the ingress gateway's limit is met before anything of the
// request goes on.
func TestTooLargeWhileHeld(t *testing.T) {
	w := newWorld(t, nil)
	w.ingress.cfg.Limits.RequestBytes = 20
	r := w.ask(t, ofModel("small", long(2*hold.Usual, `"}`))) // not at hand: this tunnel has no window
	refused(t, w, r, 413, crossingv1.Cause_REFUSED_BY_PEER, crossingv1.Reason_TOO_LARGE)
	w.journal.never(t, "destination asked")
}

// TestNothingToCompareCostsNothing, at either gateway.
func TestNothingToCompareCostsNothing(t *testing.T) {
	head := &request("POST", "/v1/chat", "", l7.Field{Name: "content-type", Value: "application/json"}, l7.Field{Name: "mcp-protocol-version", Value: "2025-11-25"}).Head
	v := new(authz.Verdict)
	a := arrival{account: &account{cfg: new(Config)}}
	d := &departure{account: &account{cfg: new(Config), half: opening.New()}, req: &listener.Request{Head: *head, Body: http.NoBody}}
	if n := testing.AllocsPerRun(100, func() {
		if content, ok := a.content(); content != &a.body || !ok || !d.inspect(v) {
			t.Error("held")
		}
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
