package exchange

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protocols"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// reading is a world whose gateways read what AI services are asked for.
func reading(t testing.TB, p *policy.Policy) *world {
	t.Helper()
	w := newWorld(t, p)
	w.egress.cfg.Authz.(*authz.Authorizer).ReadBy(protocols.Of)
	w.ingress.cfg.Authz.(*authz.Authorizer).ReadBy(protocols.Of)
	return w
}

// is is a condition that an attribute has one of some values.
func is(attribute string, values ...string) *policyv1.Condition {
	return &policyv1.Condition{Compare: &policyv1.Comparison{
		Attribute: attribute, Operator: policyv1.Comparison_IN, Literals: values,
	}}
}

// smallOnly allows the chat with one model, and holds as much as is said.
func smallOnly(t testing.TB, hold string) *policy.Policy {
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Intents[0].When, p.Intents[0].Condition = `ai.model in ["small"]`, is("ai.model", "small")
		if hold != "" {
			p.Workloads["llm"].Hold = map[string]string{"chat": hold}
		}
	})
}

// chat is a request of a completion.
func chat(content string, fields ...l7.Field) *listener.Request {
	return request("POST", "/v1/chat/completions", content, append(fields, l7.Field{Name: "content-type", Value: "application/json"})...)
}

// afterText is a chat whose model comes behind so many bytes.
func afterText(n int, model string) string {
	return `{"messages":[{"role":"user","content":"` + strings.Repeat("x", n) + `"}],"model":"` + model + `"}`
}

// TestModelDecides: what a request asks for decides, wherever in its content it stands
// and however that is cut, and both gateways record it alike.
func TestModelDecides(t *testing.T) {
	for _, c := range []struct {
		name, hold, content string
		reason              crossingv1.Reason
	}{
		{"allowed", "", afterText(10, "small"), 0},
		{"forbidden", "", afterText(10, "large"), crossingv1.Reason_NO_INTENT},
		{"of another case", "", afterText(10, "Small"), crossingv1.Reason_NO_INTENT},
		{"none", "", `{"messages":[]}`, crossingv1.Reason_NO_INTENT},
		{"named first", "", `{"model":"small","messages":["` + strings.Repeat("x", 3*hold.Usual) + `"]}`, 0},
		{"as late as may be", "", afterText(hold.Usual-2-len(afterText(0, "small")), "small"), 0},
		{"a byte later", "", afterText(hold.Usual-1-len(afterText(0, "small")), "small"), 0},
		{"too late", "", afterText(hold.Usual, "small"), crossingv1.Reason_UNREADABLE},
		{"late, and more is held", "1MiB", afterText(800_000, "small"), 0},
		{"late, and forbidden", "1MiB", afterText(800_000, "large"), crossingv1.Reason_NO_INTENT},
		{"twice", "", `{"model":"small","model":"large"}`, crossingv1.Reason_UNREADABLE},
		{"no JSON", "", `model=small`, crossingv1.Reason_UNREADABLE},
		{"cut off", "", `{"model":"small"`, crossingv1.Reason_UNREADABLE},
		{"nothing", "", ``, crossingv1.Reason_UNREADABLE},
	} {
		for how, sent := range map[string]func(*listener.Request) *listener.Request{"as it comes": asItComes, "in pieces": inPieces, "in halves": inHalves} {
			t.Run(c.name+" "+how, func(t *testing.T) {
				w := reading(t, smallOnly(t, c.hold))
				r := w.ask(t, sent(chat(c.content)))
				if c.reason != crossingv1.Reason_REASON_UNSPECIFIED {
					w.journal.never(t, "far open")
					rec := crossing.Join(w.near.account(t), nil)
					if rec.GetState() != crossingv1.Record_DENIED || rec.GetEgress().GetReason() != c.reason {
						t.Errorf("record %v", rec)
					}
					if said := sdkError(t, r); !strings.Contains(said, rec.GetId()) {
						t.Errorf("the caller is told %q", said)
					}
					return
				}
				if r.head.Status != 200 || r.body.String() != "you said "+c.content {
					t.Fatalf("answer %+v, %d bytes", r.head, r.body.Len())
				}
				rec := w.joined(t)
				if o := rec.GetOperation(); !rec.GetAgree() || o.GetName() != "chat" || o.GetModelRequested() != "small" ||
					o.GetRequest() != "POST /v1/chat/completions" {
					t.Errorf("record %v", rec)
				}
			})
		}
	}
}

// inHalves is a request of whose content the second half comes when the first was read.
func inHalves(req *listener.Request) *listener.Request {
	req.Body = io.NopCloser(iotest.HalfReader(req.Body))
	return req
}

// sdkError is the message of an error as OpenAI's SDKs read it.
func sdkError(t *testing.T, r *reply) string {
	t.Helper()
	var said struct{ Error struct{ Message string } }
	if err := json.Unmarshal([]byte(r.body.String()), &said); err != nil || said.Error.Message == "" {
		t.Fatalf("no SDK reads %q: %v", r.body.String(), err)
	}
	return said.Error.Message
}

// TestContradictionAtTheEnd: a content that names another model in its last bytes is
// never whole at the destination, however long it is.
func TestContradictionAtTheEnd(t *testing.T) {
	w := reading(t, smallOnly(t, ""))
	var got partly
	w.destination = got.serve
	r := w.ask(t, asItComes(chat(`{"model":"small","text":"`+strings.Repeat("x", 5*hold.Usual)+`","model":"large"}`)))
	if got.whole {
		t.Error("the destination took it for whole")
	}
	rec := w.joined(t)
	if e := rec.GetEgress(); e.GetClose() != crossingv1.Cause_REFUSED || e.GetReason() != crossingv1.Reason_UNREADABLE || r.head.Status != 400 {
		t.Errorf("status %d, record %v", r.head.Status, rec)
	}
}

// TestNobodyAsks: a content that cannot be understood passes where no intent asks what
// it says.
func TestNobodyAsks(t *testing.T) {
	for _, content := range []string{`{"model":`, "model=small", ""} {
		w := reading(t, nil)
		if r := w.ask(t, chat(content)); r.head.Status != 200 || r.body.String() != "you said "+content {
			t.Errorf("%q: %+v %s", content, r.head, r.body.String())
		}
		if o := w.joined(t).GetOperation(); o.GetModelRequested() != "" || o.GetName() != "chat" {
			t.Errorf("%q: %v", content, o)
		}
	}
	w := reading(t, nil)
	if r := w.ask(t, chat(`{"model":"small","model":"large"}`)); r.head.Status != 200 {
		t.Errorf("two models: %+v", r.head)
	}
	if o := w.joined(t).GetOperation(); o.GetModelRequested() != "" {
		t.Errorf("one of two models is recorded: %v", o)
	}
}

// TestCodedRequest: a content in a content coding is read, and goes on as it came.
func TestCodedRequest(t *testing.T) {
	packed := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.String()
	}
	gzipped := l7.Field{Name: "content-encoding", Value: "gzip"}
	for _, c := range []struct {
		name    string
		content string
		coding  l7.Field
		status  int
	}{
		{"allowed", packed(`{"model":"small"}`), gzipped, 200},
		{"forbidden", packed(`{"model":"large"}`), gzipped, 403},
		{"not what it says", `{"model":"small"}`, gzipped, 400},
		{"cut off", packed(`{"model":"small"}`)[:20], gzipped, 400},
		{"a bomb", packed(`{"text":"` + strings.Repeat(" ", 100<<20) + `","model":"small"}`), gzipped, 400},
		{"unknown", `{"model":"small"}`, l7.Field{Name: "content-encoding", Value: "x-own"}, 400},
		{"twice", packed(`{"model":"small"}`), l7.Field{Name: "content-encoding", Value: "gzip, gzip"}, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reading(t, smallOnly(t, "1MiB"))
			r := w.ask(t, chat(c.content, c.coding))
			if r.head.Status != c.status {
				t.Fatalf("status %d, want %d: %s", r.head.Status, c.status, r.body.String())
			}
			if c.status == 200 && r.body.String() != "you said "+c.content {
				t.Error("it did not go on as it came")
			}
		})
	}
}

// TestHeldTooMuch: what is held beyond what each may have is held of one room for all,
// and given back.
func TestHeldTooMuch(t *testing.T) {
	w := reading(t, smallOnly(t, "1MiB"))
	w.egress.cfg.Store, w.ingress.cfg.Store = hold.NewStore(1<<20), hold.NewStore(1<<20)
	if r := w.ask(t, chat(afterText(500_000, "small"))); r.head.Status != 200 {
		t.Errorf("with room: %+v", r.head)
	}
	<-w.served
	for name, s := range map[string]*hold.Store{"egress": w.egress.cfg.Store, "ingress": w.ingress.cfg.Store} {
		if left := s.Left(); left != 1<<20 {
			t.Errorf("%s: %d bytes are left", name, left)
		}
	}
	w = reading(t, smallOnly(t, "1MiB"))
	w.egress.cfg.Store = hold.NewStore(100_000)
	if r := w.ask(t, chat(afterText(500_000, "small"))); r.head.Status != http.StatusBadRequest {
		t.Errorf("without room: %+v", r.head)
	}
	if left := w.egress.cfg.Store.Left(); left != 100_000 {
		t.Errorf("%d bytes are left", left)
	}
}

// TestSaid: what an answer says is in the records of both gateways, as the provider
// reported it, whatever its form.
func TestSaid(t *testing.T) {
	const usage = `"usage":{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46}`
	piece := func(text string) string {
		return `data: {"id":"c1","object":"chat.completion.chunk","model":"small-2","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}` + "\n\n"
	}
	stream := piece("a") + piece("b") +
		`data: {"id":"c1","model":"small-2","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
		`data: {"id":"c1","model":"small-2","choices":[],` + usage + "}\n\ndata: [DONE]\n\n"
	for _, c := range []struct {
		name, media, content string
		finish               string
		source               crossingv1.Tokens_Source
		output               uint32
	}{
		{"JSON", "application/json", `{"id":"c1","model":"small-2","choices":[{"index":0,"message":{"content":"ab"},"finish_reason":"stop"}],` + usage + `}`, "stop", crossingv1.Tokens_REPORTED, 34},
		{"stream", "text/event-stream", stream, "stop", crossingv1.Tokens_REPORTED, 34},
		{"stream without usage", "text/event-stream", piece("a") + piece("b"), "", crossingv1.Tokens_COUNTED, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reading(t, smallOnly(t, ""))
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				_, err := readAll(r)
				a := answer(200, "")
				a.Head.Fields = l7.Fields{{Name: "content-type", Value: c.media}}
				a.Body = said{iotest.OneByteReader(strings.NewReader(c.content)), nil, false}
				return a, err
			}
			r := w.ask(t, chat(`{"model":"small","stream":true}`))
			if r.body.String() != c.content {
				t.Errorf("answer %q", r.body.String())
			}
			for side, a := range map[string]*crossing.Account{"near": w.near.account(t), "far": w.far.account(t)} {
				s := a.Close.GetSaid()
				if s.GetModelServed() != "small-2" || s.GetId() != "c1" || s.GetFinishReason() != c.finish || s.GetTokens().GetSource() != c.source || s.GetTokens().GetOutput() != c.output {
					t.Errorf("%s: %v", side, s)
				}
				if streamed := c.media != "application/json"; streamed != (s.GetFirstToken() != nil) || streamed && s.GetPieces() != 2 {
					t.Errorf("%s: %v", side, s)
				}
			}
			if rec := w.joined(t); !rec.GetAgree() {
				t.Errorf("record %v", rec)
			}
		})
	}
}
