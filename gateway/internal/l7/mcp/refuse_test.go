package mcp

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// read is what is asked for by a request.
func read(t *testing.T, content string) []inspect.Ask {
	t.Helper()
	asks, err := whole([]byte(content), len(content))
	if err != nil {
		t.Fatal(err)
	}
	return asks
}

func TestRefuse(t *testing.T) {
	call := read(t, rpc("tools/call", `{"name":"add"}`))
	note := read(t, `{"jsonrpc":"2.0","method":"notifications/cancelled"}`)
	response := read(t, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	early := []inspect.Ask{{Operation: CallTool, Tool: "add"}} // before the id was read
	for _, tt := range []struct {
		name   string
		r      inspect.Refusal
		asks   []inspect.Ask
		status int
		id     any
		code   float64
	}{
		{"a call", inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT}, call, 200, 1., Denied},
		{"a call, with a status", inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT, Status: 404}, call, 200, 1., Denied},
		{"a call without a name for whom", inspect.Refusal{Reason: crossingv1.Reason_NO_IDENTITY}, call, 401, 1., Denied},
		{"a call over a limit", inspect.Refusal{Reason: crossingv1.Reason_OVER_LIMIT, RetryAfter: 7}, call, 429, 1., OverLimit},
		{"a call to nobody", inspect.Refusal{Reason: crossingv1.Reason_UNREACHABLE}, call, 503, 1., Unavailable},
		{"a call that disagrees", inspect.Refusal{Reason: crossingv1.Reason_DISAGREES}, call, 400, 1., -32020},
		{"a call that is malformed", inspect.Refusal{Reason: crossingv1.Reason_MALFORMED}, call, 200, 1., -32600},
		{"a call of no id yet", inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT}, early, 403, "c1", Denied},
		{"what nobody can read", inspect.Refusal{Reason: crossingv1.Reason_MALFORMED}, nil, 400, "c1", -32600},
		{"a notification", inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT}, note, 403, "c1", Denied},
		{"a response", inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT}, response, 403, "c1", Denied},
		{"a stream", inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT, Detail: "no streams"}, []inspect.Ask{{Operation: Listen}}, 403, "c1", Denied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Crossing, tt.r.Owner = "c1", "team"
			head, body := Protocol{}.Refuse(&tt.r, tt.asks, post())
			var got map[string]any
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			message := tt.r.Detail
			if message == "" {
				message = l7.Explain(tt.r.Reason)
			}
			want := map[string]any{"jsonrpc": "2.0", "id": tt.id, "error": map[string]any{
				"code": tt.code, "message": message,
				"data": map[string]any{"crossing": "c1", "reason": tt.r.Reason.String(), "owner": "team"},
			}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := head.Check(); err != nil || head.Status != tt.status || head.Fields.Get(l7.CrossingName) != "c1" || head.Fields.Get("cache-control") != "no-store" {
				t.Errorf("%+v, %v", head, err)
			}
			if (head.Fields.Get("retry-after") == "7") != (tt.r.RetryAfter > 0) || head.Fields.Has("www-authenticate") != (tt.status == 401) {
				t.Errorf("%+v", head)
			}
		})
	}
}

func TestRefuseBatch(t *testing.T) {
	asks := read(t, "["+rpc("ping", "")+`,{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":"b","method":"tools/list"}]`)
	head, body := Protocol{}.Refuse(&inspect.Refusal{Crossing: "c1", Reason: crossingv1.Reason_NO_INTENT}, asks, post())
	var got []struct{ ID any }
	if err := json.Unmarshal(body, &got); err != nil || head.Status != 200 || len(got) != 2 || got[0].ID != 1. || got[1].ID != "b" {
		t.Errorf("%+v %s, %v", head, body, err)
	}
	head, body = Protocol{}.Refuse(&inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT}, nil, nil)
	var one struct{ ID *string }
	if err := json.Unmarshal(body, &one); err != nil || one.ID != nil || head.Status != 403 {
		t.Errorf("%+v %s, %v", head, body, err)
	}
}
