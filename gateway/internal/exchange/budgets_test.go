package exchange

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// withinLimits is a policy whose chat has limits.
func withinLimits(t testing.TB, limits map[string]string) *policy.Policy {
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Intents[0].Limits = limits
		p.Costs = map[string]*policyv1.Cost{"small": {Input: 1_000_000, Output: 2_000_000}}
	})
}

// spender asks again and again, through gateways that count.
type spender struct {
	p           *policy.Policy
	near, far   *budget.Ledger
	destination func(*upstream.Request) (*upstream.Response, error)
}

func (s *spender) ask(t *testing.T, content string) (*reply, *world) {
	t.Helper()
	w := reading(t, s.p)
	w.egress.cfg.Budgets, w.ingress.cfg.Budgets = s.near, s.far
	if s.destination != nil {
		w.destination = s.destination
	}
	r := w.ask(t, chat(content))
	if w.near.account(t).Open.GetTunnel() != nil {
		<-w.served
	}
	return r, w
}

// TestBudgetOfNothing: a crossing that goes nowhere because it cannot be recorded takes
// nothing of its caller's budget, at either end.
func TestBudgetOfNothing(t *testing.T) {
	for _, end := range []string{"near", "far"} {
		s := &spender{p: withinLimits(t, map[string]string{"requests": "1/day"}), near: budget.New(), far: budget.New()}
		w := reading(t, s.p)
		w.egress.cfg.Budgets, w.ingress.cfg.Budgets = s.near, s.far
		full := map[string]*fakeSpool{"near": w.near, "far": w.far}[end]
		full.fail = errors.New("disk full")
		if r := w.ask(t, chat(`{"model":"small"}`)); r.head.Status != 503 {
			t.Errorf("%s is full: %+v", end, r.head)
		}
		if end == "far" {
			<-w.served
		}
		if r, _ := s.ask(t, `{"model":"small"}`); r.head.Status != 200 {
			t.Errorf("after %s was full: %+v %s", end, r.head, r.body.String())
		}
	}
}

// costing answers with a usage.
func costing(usage string) func(*upstream.Request) (*upstream.Response, error) {
	return func(r *upstream.Request) (*upstream.Response, error) {
		_, err := readAll(r)
		a := answer(200, `{"id":"c","model":"small","choices":[]`+usage+`}`)
		a.Head.Fields = l7.Fields{{Name: "content-type", Value: "application/json"}}
		return a, err
	}
}

// TestBudgetRunsOut: what is used up is refused in words that the SDK knows, with the time
// after which to ask again, and recorded; then it is allowed again.
func TestBudgetRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spender{p: withinLimits(t, map[string]string{"requests": "2/minute"}), near: budget.New(), far: budget.New()}
		for i := range 2 {
			if r, _ := s.ask(t, `{"model":"small"}`); r.head.Status != 200 {
				t.Fatalf("request %d: %+v %s", i+1, r.head, r.body.String())
			}
		}
		r, w := s.ask(t, `{"model":"small"}`)
		rec := crossing.Join(w.near.account(t), nil)
		if r.head.Status != 429 || r.head.Fields.Get("retry-after") != "60" || !strings.Contains(sdkError(t, r), rec.GetId()) {
			t.Errorf("the third: %+v %s", r.head, r.body.String())
		}
		if text := sdkError(t, r); strings.Contains(text, "chat") || strings.Contains(text, "2/minute") {
			t.Errorf("the caller learns which intent there is, and its limit: %q", text)
		}
		if e := rec.GetEgress(); rec.GetState() != crossingv1.Record_DENIED || e.GetReason() != crossingv1.Reason_OVER_BUDGET || e.GetIntent() != "chat" {
			t.Errorf("record %v", rec)
		}
		w.journal.never(t, "far open")
		<-time.After(time.Minute)
		if r, _ := s.ask(t, `{"model":"small"}`); r.head.Status != 200 {
			t.Errorf("a minute later: %+v", r.head)
		}
	})
}

// TestBudgetIsKeptAtBothEnds: an egress gateway that counts nothing gets no more through
// than the ingress gateway's own count lets in.
func TestBudgetIsKeptAtBothEnds(t *testing.T) {
	s := &spender{p: withinLimits(t, map[string]string{"requests": "1/day"}), far: budget.New()}
	for i, want := range []int{200, 429} {
		s.near = budget.New() // it has forgotten
		if r, w := s.ask(t, `{"model":"small"}`); r.head.Status != want {
			t.Errorf("request %d: %+v", i+1, r.head)
		} else if want == 429 && w.far.account(t).Open.GetEnd().GetReason() != crossingv1.Reason_OVER_BUDGET {
			t.Errorf("record %v", w.far.account(t))
		}
	}
	s.near = nil
	if r, w := s.ask(t, `{"model":"small"}`); r.head.Status != 403 || w.near.account(t).Open.GetEnd().GetReason() != crossingv1.Reason_NOT_ENFORCEABLE {
		t.Errorf("a gateway that counts nothing: %+v", r.head)
	}
}

var errGone = errors.New("the destination is gone")

// TestWhatCounts: what was reserved is settled with what a call came to.
func TestWhatCounts(t *testing.T) {
	stream := func(end string) func(*upstream.Request) (*upstream.Response, error) {
		return func(r *upstream.Request) (*upstream.Response, error) {
			_, err := readAll(r)
			piece := `data: {"id":"c","model":"small","choices":[{"index":0,"delta":{"content":"x"}}]}` + "\n\n"
			a := answer(200, "")
			a.Head.Fields = l7.Fields{{Name: "content-type", Value: "text/event-stream"}}
			a.Body = said{strings.NewReader(strings.Repeat(piece, 5) + end), nil, false}
			return a, err
		}
	}
	const content = `{"model":"small","max_tokens":100}` // 34 bytes: 9 tokens in
	for _, c := range []struct {
		name        string
		destination func(*upstream.Request) (*upstream.Response, error)
		tokens      int64
	}{
		{"reported", costing(`,"usage":{"prompt_tokens":7,"completion_tokens":11}`), 18},
		{"reported as nothing", costing(`,"usage":{"prompt_tokens":0,"completion_tokens":0}`), 0},
		{"not reported", costing(""), 109},
		{"a stream that reports", stream(`data: {"id":"c","model":"small","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":11}}` + "\n\ndata: [DONE]\n\n"), 18},
		{"a stream without a report", stream(""), 9 + 5},
		{"an error", func(r *upstream.Request) (*upstream.Response, error) {
			_, err := readAll(r)
			return answer(500, "no"), err
		}, 0},
		{"no answer", func(r *upstream.Request) (*upstream.Response, error) {
			io.Copy(io.Discard, r.Body)
			return nil, errGone
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &spender{p: withinLimits(t, map[string]string{"tokens": "1000000/day"}), near: budget.New(), far: budget.New(), destination: c.destination}
			s.ask(t, content)
			for side, l := range map[string]*budget.Ledger{"near": s.near, "far": s.far} {
				used := int64(0)
				for _, u := range l.Tell(1000, time.Now()).Uses {
					used += u.Used
				}
				if used != c.tokens {
					t.Errorf("%s: %d tokens used, want %d", side, used, c.tokens)
				}
			}
		})
	}
}
