package sdk

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	protocol "github.com/sallyport-mesh/sallyport/gateway/internal/l7/openai"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// What OpenAI's own SDK makes of a refusal, and whether it tries again.
func TestRefusalsInTheSDK(t *testing.T) {
	for _, tt := range []struct {
		name      string
		refusal   inspect.Refusal
		calls     int64
		kind, why string
	}{
		{"denied", inspect.Refusal{Crossing: "c", Reason: crossingv1.Reason_NO_INTENT, Owner: "o"}, 1, "permission_error", "no intent allows it (crossing c, reason NO_INTENT, owner o)"},
		{"not supported", inspect.Refusal{Reason: crossingv1.Reason_MALFORMED, Status: 501}, 1, "server_error", "the request is not well formed (reason MALFORMED)"},
		{"over a limit for long", inspect.Refusal{Reason: crossingv1.Reason_OVER_LIMIT, RetryAfter: 61}, 1, "rate_limit_error", "the caller has too much under way (reason OVER_LIMIT)"},
		{"not available", inspect.Refusal{Reason: crossingv1.Reason_DRAINING}, 2, "server_error", "the gateway is going away (reason DRAINING)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				head, body := protocol.Protocol{}.Refuse(&tt.refusal, nil, &l7.RequestHead{Method: "POST", Path: "/v1/chat/completions"})
				for _, f := range head.Fields {
					w.Header().Add(f.Name, f.Value)
				}
				w.WriteHeader(head.Status)
				w.Write(body)
			}))
			defer server.Close()
			client := openai.NewClient(option.WithBaseURL(server.URL+"/v1"), option.WithAPIKey("k"), option.WithMaxRetries(1))
			_, err := client.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "m"})
			told, ok := errors.AsType[*openai.Error](err)
			if !ok {
				t.Fatalf("%v is no error of the API", err)
			}
			if told.Type != tt.kind || told.Message != tt.why || told.Code == "" || calls.Load() != tt.calls {
				t.Errorf("%q, %q, %q after %d calls; want %q, %q after %d", told.Type, told.Message, told.Code, calls.Load(), tt.kind, tt.why, tt.calls)
			}
		})
	}
}
