package anthropic

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestRefuse(t *testing.T) {
	const id = "0192"
	for _, tt := range []struct {
		name    string
		refusal inspect.Refusal
		status  int
		kind    string
		fields  map[string]string // retry-after and x-should-retry
	}{
		{"denied", inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT}, 403, "permission_error", map[string]string{"x-should-retry": "false"}},
		{"nobody", inspect.Refusal{Reason: crossingv1.Reason_NO_IDENTITY}, 401, "authentication_error", map[string]string{"x-should-retry": "false"}},
		{"malformed", inspect.Refusal{Reason: crossingv1.Reason_MALFORMED}, 400, "invalid_request_error", map[string]string{"x-should-retry": "false"}},
		{"too large", inspect.Refusal{Reason: crossingv1.Reason_TOO_LARGE}, 431, "request_too_large", map[string]string{"x-should-retry": "false"}},
		{"too large a content", inspect.Refusal{Reason: crossingv1.Reason_TOO_LARGE, Status: 413}, 413, "request_too_large", map[string]string{"x-should-retry": "false"}},
		{"not found", inspect.Refusal{Reason: crossingv1.Reason_UNKNOWN_SERVICE, Status: 404}, 404, "not_found_error", map[string]string{"x-should-retry": "false"}},
		{"over a limit", inspect.Refusal{Reason: crossingv1.Reason_OVER_LIMIT}, 429, "rate_limit_error", map[string]string{}},
		{"over a limit for a while", inspect.Refusal{Reason: crossingv1.Reason_OVER_LIMIT, RetryAfter: 60}, 429, "rate_limit_error", map[string]string{"retry-after": "60"}},
		{"over a limit for long", inspect.Refusal{Reason: crossingv1.Reason_OVER_LIMIT, RetryAfter: 61}, 429, "rate_limit_error", map[string]string{"retry-after": "61", "x-should-retry": "false"}},
		{"unreachable", inspect.Refusal{Reason: crossingv1.Reason_UNREACHABLE}, 503, "overloaded_error", map[string]string{}},
		{"bad gateway", inspect.Refusal{Reason: crossingv1.Reason_UNREACHABLE, Status: 502}, 502, "api_error", map[string]string{}},
		{"not in time", inspect.Refusal{Reason: crossingv1.Reason_UNREACHABLE, Status: 504}, 504, "timeout_error", map[string]string{}},
		{"not supported", inspect.Refusal{Reason: crossingv1.Reason_NOT_ENFORCEABLE, Status: 501}, 501, "api_error", map[string]string{"x-should-retry": "false"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.refusal.Crossing = id
			answer, body := Protocol{}.Refuse(&tt.refusal, nil, asked("POST", "/v1/messages"))
			if answer.Status != tt.status {
				t.Errorf("status %d, want %d", answer.Status, tt.status)
			}
			want := map[string]string{
				"content-type": "application/json", "content-length": strconv.Itoa(len(body)), "cache-control": "no-store",
				l7.CrossingName: id, "request-id": id,
			}
			if tt.status == 401 {
				want["www-authenticate"] = `Bearer realm="sallyport"`
			}
			for name, value := range tt.fields {
				want[name] = value
			}
			got := map[string]string{}
			for _, f := range answer.Fields {
				got[f.Name] = f.Value
			}
			if diff := cmp.Diff(want, got); diff != "" || len(got) != len(answer.Fields) {
				t.Errorf("fields %v (-want +got):\n%s", answer.Fields, diff)
			}
			detail := l7.Explain(tt.refusal.Reason) + " (crossing 0192, reason " + tt.refusal.Reason.String() + ")"
			holds(t, body, map[string]any{"type": "error", "error": map[string]any{"type": tt.kind, "message": detail}, "request_id": id})
		})
	}
}

func holds(t *testing.T, body []byte, want map[string]any) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", body, diff)
	}
}

func TestRefuseDetail(t *testing.T) {
	answer, body := Protocol{}.Refuse(&inspect.Refusal{Reason: crossingv1.Reason_DENIED_BY_INTENT, Owner: "team-a", Detail: `not "this" model`}, nil, nil)
	holds(t, body, map[string]any{
		"type": "error", "request_id": nil,
		"error": map[string]any{"type": "permission_error", "message": `not "this" model (reason DENIED_BY_INTENT, owner team-a)`},
	})
	if answer.Fields.Has("request-id") || answer.Fields.Has(l7.CrossingName) {
		t.Errorf("a crossing that is none: %v", answer.Fields)
	}
}

// TestRefuseOthers: a proxy's caller and a gRPC call are answered as they can read.
func TestRefuseOthers(t *testing.T) {
	r := &inspect.Refusal{Reason: crossingv1.Reason_NO_IDENTITY, Crossing: "0192"}
	answer, body := Protocol{}.Refuse(r, nil, &l7.RequestHead{Method: "POST", Scheme: "http", Path: "/v1/messages"})
	if answer.Status != 407 || !answer.Fields.Has("proxy-authenticate") || answer.Fields.Get("content-length") != strconv.Itoa(len(body)) {
		t.Errorf("%+v", answer)
	}
	answer, body = Protocol{}.Refuse(r, nil, &l7.RequestHead{Method: "POST", Path: "/v1/messages", Fields: l7.Fields{{Name: "content-type", Value: "application/grpc"}}})
	if body != nil || answer.Fields.Get("grpc-status") == "" {
		t.Errorf("%+v, %s", answer, body)
	}
}
