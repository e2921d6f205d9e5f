package hold

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/agree"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protocols"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var (
	agent = spiffeid.RequireFromString("spiffe://near.test/ai/agent")
	near  = spiffeid.RequireFromString("spiffe://near.test/sallyport/gateway/near-1")
	far   = spiffeid.RequireFromString("spiffe://far.test/sallyport/gateway/far-1")
)

// estate holds a policy.
type estate struct{ p *policy.Policy }

func (e estate) Policies() *xdsclient.Policies { return &xdsclient.Policies{Current: e.p} }
func (e estate) Acts() *act.Set                { return nil }

// small allows a chat with one model.
func small(t testing.TB) estate {
	return estate{policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Intents[0].When = `ai.model == "small"`
		p.Intents[0].Condition = isSmall()
	})}
}

func isSmall() *policyv1.Condition {
	return &policyv1.Condition{Compare: &policyv1.Comparison{
		Attribute: "ai.model", Operator: policyv1.Comparison_EQ, Literals: []string{"small"},
	}}
}

func chat(fields ...l7.Field) *l7.RequestHead {
	return &l7.RequestHead{
		Method: "POST", Authority: "llm.far.mesh:8000", Path: "/v1/chat/completions",
		Fields: append(fields, l7.Field{Name: "content-type", Value: "application/json"}),
	}
}

// egress and ingress are verdicts of gateways that read content.
func (e estate) egress(head *l7.RequestHead) *authz.Verdict {
	v := authz.New(near, "near", e).ReadBy(protocols.Of).Egress(agent, head, time.Now())
	return &v
}

func (e estate) ingress(head *l7.RequestHead) *authz.Verdict {
	ref := e.p.Ref()
	h := &crossingv1.Header{
		Source: agent.String(), Destination: "spiffe://far.test/ai/llm", Workload: "llm", Service: "chat",
		Policy: &crossingv1.PolicyRef{Serial: ref.Serial, Revision: ref.Revision},
	}
	v := authz.New(far, "far", e).ReadBy(protocols.Of).Ingress(near, h, head, time.Now())
	return &v
}

// chunks gives at most so many bytes at a time.
type chunks struct {
	r    io.Reader
	most int
}

func (c *chunks) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.most)]) }

// through is what comes of a content, and why no more.
func through(c *Content, most int) (string, error) {
	var got bytes.Buffer
	_, err := io.CopyBuffer(&got, struct{ io.Reader }{c}, make([]byte, most))
	return got.String(), err
}

func said(v *authz.Verdict) []inspect.Ask { return slices.Clone(v.Asks()) }

func same(a, b []inspect.Ask) bool {
	return slices.EqualFunc(a, b, func(x, y inspect.Ask) bool {
		return x.Operation == y.Operation && x.Model == y.Model && x.Streamed == y.Streamed && x.MaxTokens == y.MaxTokens
	})
}

// FuzzBoth: however a content is cut on its way, both gateways know the same of it when
// they decide, and decide alike; what is allowed comes through as it is, and nothing
// else as a whole.
func FuzzBoth(f *testing.F) {
	f.Add(`{"model":"small"}`, "", uint(0), uint(3), uint(5), uint(7))
	f.Add(`{"model":"large"}`, "", uint(0), uint(1), uint(1), uint(1))
	f.Add(`{"model":"small","messages":["`, `"],"stream":true}`, uint(70_000), uint(60_000), uint(9_999), uint(1))
	f.Add(`{"model":"small","messages":["`, `"],"model":"large"}`, uint(140_000), uint(100), uint(1), uint(65_535))
	f.Add(`{"messages":["`, `"],"model":"small"}`, uint(65_503), uint(1000), uint(65_536), uint(1))
	f.Add(`{"messages":["`, `"],"model":"small"}`, uint(65_504), uint(1000), uint(65_536), uint(1))
	f.Add(`{"messages":["`, `"],"model":"small"}`, uint(65_505), uint(1000), uint(65_536), uint(1))
	e := small(f)
	f.Fuzz(func(t *testing.T, begin, end string, middle, in, between, out uint) {
		content := begin + strings.Repeat("x", int(middle%(3*Usual))) + end
		head := chat()
		v := e.egress(head)
		c := New(head, &chunks{strings.NewReader(content), int(in%100_000) + 1}, v, crossingv1.Side_EGRESS, nil)
		c.Hold()
		asked := said(v)
		if !v.Allow {
			return // nothing goes on
		}
		w := e.ingress(head)
		var sent bytes.Buffer
		there := New(head, &tee{c, int(between%100_000) + 1, &sent}, w, crossingv1.Side_INGRESS, nil)
		there.Hold()
		if !w.Allow || !same(asked, said(w)) {
			t.Fatalf("egress knows %+v and allows it, ingress knows %+v: %v", asked, said(w), w.Allow)
		}
		got, err := through(there, int(out%100_000)+1)
		model, ok := modelOf(content)
		switch {
		case err == nil && got != content:
			t.Fatalf("%d of %d bytes, without an error", len(got), len(content))
		case err == nil && (!ok || model != "small"):
			t.Fatalf("%q went through, which asks for %q", content, model)
		case err != nil && len(got) > 0 && len(got) >= len(content):
			t.Fatalf("all went through, and then %v", err)
		}
	})
}

// tee reads at most so much at a time, and notes it.
type tee struct {
	r    io.Reader
	most int
	to   io.Writer
}

func (r *tee) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), r.most)])
	r.to.Write(p[:n])
	return n, err
}

// modelOf is the model as encoding/json reads it.
func modelOf(content string) (string, bool) {
	var m struct{ Model string }
	err := json.Unmarshal([]byte(content), &m)
	return m.Model, err == nil
}

// FuzzCompared: what is compared with a head comes through as it is, or not as a whole.
func FuzzCompared(f *testing.F) {
	f.Add("small", `{"model":"small"}`, uint(3), uint(5), uint(0))
	f.Add("small", `{"model":"large"}`, uint(1), uint(1), uint(0))
	f.Add("small", `{"model":"small"}`, uint(1000), uint(900), uint(70_000))
	f.Add("small", `{"model":"small"`, uint(70_000), uint(70_000), uint(70_000))
	f.Fuzz(func(t *testing.T, model, content string, in, out, space uint) {
		content += strings.Repeat(" ", int(space%(3*Usual)))
		head := chat(l7.Field{Name: "x-model", Value: model})
		check := agree.New(head)
		_, err := check.Write([]byte(content))
		if err == nil {
			err = check.End()
		}
		c := New(head, &chunks{strings.NewReader(content), int(in%100_000) + 1}, new(authz.Verdict), crossingv1.Side_EGRESS, nil)
		c.Hold()
		got, cerr := through(c, int(out%100_000)+1)
		switch {
		case err == nil && (cerr != nil || got != content):
			t.Fatalf("%v with %d of %d bytes of what agrees", cerr, len(got), len(content))
		case err != nil && (cerr == nil || !strings.HasPrefix(content, got) || len(content) > 0 && len(got) >= len(content)):
			t.Fatalf("%v with %d of %d bytes of what does not agree: %v", cerr, len(got), len(content), err)
		case err != nil && len(content) < Usual && len(got) > 0:
			t.Fatalf("%d bytes went on that were held", len(got))
		}
	})
}

// TestConfirm: what is asked for beside what was decided, at the end of a content that
// is longer than what is held, is decided too.
func TestConfirm(t *testing.T) {
	e := estate{policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = "anthropic://:8000"
		p.Intents[0].Condition = isSmall()
		p.Intents[0].When = `ai.model == "small"`
	})}
	long := strings.Repeat("x", 3*Usual)
	for _, c := range []struct {
		name, content string
		whole         bool
	}{
		{"alone", `{"model":"small","max_tokens":1,"messages":[{"role":"user","content":"` + long + `"}]}`, true},
		{"with another to fall back on", `{"model":"small","max_tokens":1,"messages":[{"role":"user","content":"` + long + `"}],"fallbacks":[{"model":"large"}]}`, false},
	} {
		head := chat()
		head.Path = "/v1/messages"
		v := e.egress(head)
		content := New(head, strings.NewReader(c.content), v, crossingv1.Side_EGRESS, nil)
		if content.Hold(); !v.Allow {
			t.Fatalf("%s: %s %s", c.name, v.Reason, v.Detail)
		}
		got, err := through(content, 10_000)
		if whole := err == nil && got == c.content; whole != c.whole {
			t.Errorf("%s: %d of %d bytes, %v", c.name, len(got), len(c.content), err)
		}
		if why := content.Fault(); c.whole != (why == nil) {
			t.Errorf("%s: %+v", c.name, why)
		}
	}
}

// TestStore: room for all is taken and given back.
func TestStore(t *testing.T) {
	s := NewStore(10)
	if !s.take(7) || s.take(4) || !s.take(3) || s.Left() != 0 {
		t.Errorf("%d are left", s.Left())
	}
	s.give(10)
	if s.Left() != 10 {
		t.Errorf("%d are left", s.Left())
	}
	var any *Store
	if !any.take(1 << 40) {
		t.Error("a store without a bound has one")
	}
	any.give(1)
}

// TestFaults: each error of a content has its reason, and others none.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		err  error
		want crossingv1.Reason
	}{
		{&agree.Error{Kind: agree.ErrDisagree}, crossingv1.Reason_DISAGREES},
		{&inspect.Error{Kind: inspect.ErrUnreadable}, crossingv1.Reason_UNREADABLE},
		{errLabel, crossingv1.Reason_BAD_LABEL},
		{io.EOF, 0},
		{io.ErrUnexpectedEOF, 0},
		{nil, 0},
	} {
		if got := ReasonOf(c.err); got != c.want || Faulty(got) != (c.want != 0) {
			t.Errorf("%v: %s, faulty %v, want %s", c.err, got, Faulty(got), c.want)
		}
	}
	if !errors.Is(unreadable(io.ErrUnexpectedEOF), inspect.ErrUnreadable) || unreadable(nil) != nil {
		t.Error("what cannot be decoded is not unreadable")
	}
}

// TestGuardedIsWhole: what a guard must see is held as a whole, or denied for a reason
// that says whether it helps to come again.
func TestGuardedIsWhole(t *testing.T) {
	guarded := func(at string) estate {
		return estate{policytest.Estate(t, 1, func(p *policyv1.Policy) {
			p.Guards = map[string]*policyv1.Guard{"dlp": {Owner: "team", At: at}}
			p.Intents[0].Require = &policyv1.Require{Guard: "dlp"}
			p.Workloads["llm"].Hold = map[string]string{"chat": "256KiB"}
		})}
	}
	content := func(n int) string { return `{"model":"small","x":"` + strings.Repeat("x", n) + `"}` }
	for _, c := range []struct {
		name, at string
		n        int
		store    *Store
		reason   crossingv1.Reason
	}{
		{"short", "egress", 10, nil, 0},
		{"long", "egress", 3 * Usual, nil, 0},
		{"too long", "egress", 5 * Usual, nil, crossingv1.Reason_GUARD_REFUSED},
		{"no room", "egress", 3 * Usual, NewStore(0), crossingv1.Reason_GUARD_UNAVAILABLE},
		{"for the other gateway to ask", "ingress", 5 * Usual, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := chat()
			v := guarded(c.at).egress(head)
			held := New(head, strings.NewReader(content(c.n)), v, crossingv1.Side_EGRESS, c.store)
			defer held.Free()
			if held.Hold(); v.Reason != c.reason || v.Allow != (c.reason == 0) {
				t.Fatalf("%v: %s %s", v.Allow, v.Reason, v.Detail)
			}
			if got, whole := held.Whole(); v.Guarded(crossingv1.Side_EGRESS) && (!whole || string(got) != content(c.n)) {
				t.Errorf("%d bytes, whole %v", len(got), whole)
			}
		})
	}
}
