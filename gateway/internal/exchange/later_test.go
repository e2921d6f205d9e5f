package exchange

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// speaking is a policy for a service of a protocol, which may be asked for small alone if
// that is said, and within so many tokens.
func speaking(t testing.TB, protocol string, smallAlone bool) *policy.Policy {
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = protocol + "://:8000"
		p.Intents[0].Allow.Methods, p.Intents[0].Limits = nil, map[string]string{"tokens": "1000000/day"}
		if smallAlone {
			p.Intents[0].When, p.Intents[0].Condition = `ai.model in ["small"]`, is("ai.model", "small")
		}
	})
}

func ofJSON(method, path, content string) *listener.Request {
	return request(method, path, content, l7.Field{Name: "content-type", Value: "application/json"})
}

// TestWhatCountsLater: work that goes on when the exchange ends which has asked for it
// counts as it was reserved; once it has ended, what it came to counts with the exchange
// that reads so.
func TestWhatCountsLater(t *testing.T) {
	const (
		response = "/v1/responses/resp_1"
		batch    = "/v1/messages/batches"
		line     = `{"custom_id":"1","result":{"type":"succeeded","message":{"model":"small","usage":{"input_tokens":5,"output_tokens":6}}}}` + "\n"
	)
	for _, c := range []struct {
		name, protocol               string
		method, path, content, media string
		answer                       string
		tokens                       int64
	}{
		{"asked for in the background", "openai", "POST", "/v1/responses", `{"model":"small","background":true,"max_output_tokens":100}`, "application/json", `{"id":"resp_1","status":"queued","background":true,"usage":null}`, 15 + 100},
		{"a stream that broke off", "openai", "POST", "/v1/responses", `{"model":"small","background":true,"max_output_tokens":100}`, "text/event-stream", `data: {"type":"response.created","response":{"id":"resp_1","status":"queued","background":true}}` + "\n\n", 15 + 100},
		{"goes on", "openai", "GET", response, "", "application/json", `{"id":"resp_1","status":"in_progress","usage":null}`, 0},
		{"has ended", "openai", "GET", response, "", "application/json", `{"id":"resp_1","status":"completed","usage":{"input_tokens":7,"output_tokens":11}}`, 18},
		{"was stopped", "openai", "POST", response + "/cancel", "", "application/json", `{"id":"resp_1","status":"cancelled","usage":{"input_tokens":7,"output_tokens":1}}`, 8},
		{"has ended, and says no more", "openai", "GET", response, "", "application/json", `{"id":"resp_1","status":"cancelled","usage":null}`, 4096},
		{"cannot be read", "openai", "GET", response, "", "application/json", `{"id":"resp_1","status":"queued"`, 4096},
		{"a batch", "anthropic", "POST", batch, `{"requests":[{"params":{"model":"small","max_tokens":100}},{"params":{"model":"small","max_tokens":50}}]}`, "application/json", `{"id":"b","type":"message_batch","processing_status":"in_progress"}`, 27 + 150},
		{"a batch goes on", "anthropic", "GET", batch + "/b", "", "application/json", `{"id":"b","type":"message_batch","processing_status":"in_progress"}`, 0},
		{"its results", "anthropic", "GET", batch + "/b/results", "", "application/x-jsonl", line + line, 22},
		{"results that cannot be read", "anthropic", "GET", batch + "/b/results", "", "application/x-jsonl", "<html>", 4096},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := budget.New(), budget.New()
			w := reading(t, speaking(t, c.protocol, false))
			w.egress.cfg.Budgets, w.ingress.cfg.Budgets = near, far
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				_, err := readAll(r)
				a := answer(200, c.answer)
				a.Head.Fields = l7.Fields{{Name: "content-type", Value: c.media}}
				return a, err
			}
			w.ask(t, ofJSON(c.method, c.path, c.content))
			if rec := w.joined(t); !rec.GetAgree() {
				t.Errorf("record %v", rec)
			}
			for side, l := range map[string]*budget.Ledger{"near": near, "far": far} {
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

// TestModelsOfABatch: each model of a batch is decided on, and a batch whose models nobody
// sees is denied where they matter.
func TestModelsOfABatch(t *testing.T) {
	for _, c := range []struct {
		name, protocol, path, content string
		reason                        crossingv1.Reason
	}{
		{"allowed", "anthropic", "/v1/messages/batches", `{"requests":[{"params":{"model":"small"}},{"params":{"model":"small"}}]}`, 0},
		{"hidden behind", "anthropic", "/v1/messages/batches", `{"requests":[{"params":{"model":"small"}},{"params":{"model":"large"}}]}`, crossingv1.Reason_NO_INTENT},
		{"to fall back to", "anthropic", "/v1/messages/batches", `{"requests":[{"params":{"model":"small","fallbacks":[{"model":"large"}]}}]}`, crossingv1.Reason_NO_INTENT},
		{"without a model", "anthropic", "/v1/messages/batches", `{"requests":[{"params":{"model":"small"}},{"params":{}}]}`, crossingv1.Reason_NO_INTENT},
		{"of a file", "openai", "/v1/batches", `{"input_file_id":"file_1","endpoint":"/v1/chat/completions","completion_window":"24h","model":"small"}`, crossingv1.Reason_NO_INTENT},
		{"the file", "openai", "/v1/files", `{"model":"small"}`, crossingv1.Reason_NO_INTENT},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reading(t, speaking(t, c.protocol, true))
			w.egress.cfg.Budgets, w.ingress.cfg.Budgets = budget.New(), budget.New()
			r := w.ask(t, ofJSON("POST", c.path, c.content))
			if c.reason == crossingv1.Reason_REASON_UNSPECIFIED {
				if rec := w.joined(t); r.head.Status != 200 || !rec.GetAgree() {
					t.Errorf("%+v, record %v", r.head, rec)
				}
				return
			}
			if rec := crossing.Join(w.near.account(t), nil); r.head.Status != 403 || rec.GetEgress().GetReason() != c.reason {
				t.Errorf("%+v, record %v", r.head, rec)
			}
		})
	}
}
