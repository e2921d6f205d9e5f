package openai

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestRefuse(t *testing.T) {
	const id = "019a1b2c-0000-7000-8000-000000000001"
	for _, tt := range []struct {
		name    string
		refusal inspect.Refusal
		status  int
		want    refusalError
		fields  l7.Fields // beside those that every answer has
	}{
		{
			"denied",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_NO_INTENT, Owner: "payments"},
			403,
			refusalError{Message: "no intent allows it (crossing " + id + ", reason NO_INTENT, owner payments)", Type: "permission_error", Code: "no_intent"},
			l7.Fields{{Name: "x-should-retry", Value: "false"}},
		},
		{
			"over a limit",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_OVER_LIMIT, RetryAfter: 60},
			429,
			refusalError{Message: "the caller has too much under way (crossing " + id + ", reason OVER_LIMIT)", Type: "rate_limit_error", Code: "over_limit"},
			l7.Fields{{Name: "retry-after", Value: "60"}},
		},
		{
			"over a limit for long",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_OVER_LIMIT, RetryAfter: 61, Detail: "the budget is spent"},
			429,
			refusalError{Message: "the budget is spent (crossing " + id + ", reason OVER_LIMIT)", Type: "rate_limit_error", Code: "over_limit"},
			l7.Fields{{Name: "retry-after", Value: "61"}, {Name: "x-should-retry", Value: "false"}},
		},
		{
			"over a limit for nobody knows how long",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_OVER_LIMIT},
			429,
			refusalError{Message: "the caller has too much under way (crossing " + id + ", reason OVER_LIMIT)", Type: "rate_limit_error", Code: "over_limit"},
			nil,
		},
		{
			"not well formed",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_MALFORMED, Detail: "model is not a string"},
			400,
			refusalError{Message: "model is not a string (crossing " + id + ", reason MALFORMED)", Type: "invalid_request_error", Code: "malformed"},
			l7.Fields{{Name: "x-should-retry", Value: "false"}},
		},
		{
			"too large, with a status of its own",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_TOO_LARGE, Status: 413},
			413,
			refusalError{Message: "the request is larger than a limit (crossing " + id + ", reason TOO_LARGE)", Type: "invalid_request_error", Code: "too_large"},
			l7.Fields{{Name: "x-should-retry", Value: "false"}},
		},
		{
			"not supported",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_MALFORMED, Status: 501},
			501,
			refusalError{Message: "the request is not well formed (crossing " + id + ", reason MALFORMED)", Type: "server_error", Code: "malformed"},
			l7.Fields{{Name: "x-should-retry", Value: "false"}},
		},
		{
			"not available",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_DRAINING},
			503,
			refusalError{Message: "the gateway is going away (crossing " + id + ", reason DRAINING)", Type: "server_error", Code: "draining"},
			nil,
		},
		{
			"nobody",
			inspect.Refusal{Crossing: id, Reason: crossingv1.Reason_BAD_IDENTITY},
			401,
			refusalError{Message: "the SVID shown did not verify (crossing " + id + ", reason BAD_IDENTITY)", Type: "authentication_error", Code: "bad_identity"},
			l7.Fields{{Name: "www-authenticate", Value: `Bearer realm="sallyport"`}, {Name: "x-should-retry", Value: "false"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			head, body := Protocol{}.Refuse(&tt.refusal, nil, post(chatPath))
			var got refusal
			if err := json.Unmarshal(body, &got); err != nil || head.Status != tt.status {
				t.Fatalf("%d, %s: %v", head.Status, body, err)
			}
			if diff := cmp.Diff(tt.want, got.Error); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !strings.Contains(string(body), `"param":null`) {
				t.Errorf("%s", body)
			}
			want := map[string]string{
				l7.CrossingName: id, "content-type": "application/json", "cache-control": "no-store", "content-length": strconv.Itoa(len(body)),
			}
			for _, f := range tt.fields {
				want[f.Name] = f.Value
			}
			fields := map[string]string{}
			for _, f := range head.Fields {
				fields[f.Name] = f.Value
			}
			if diff := cmp.Diff(want, fields); diff != "" || len(fields) != len(head.Fields) {
				t.Errorf("%v (-want +got):\n%s", head.Fields, diff)
			}
		})
	}
}

func TestRefuseOthers(t *testing.T) {
	r := &inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT}
	head, body := Protocol{}.Refuse(r, nil, &l7.RequestHead{Method: "POST", Path: chatPath, Fields: l7.Fields{{Name: "content-type", Value: "application/grpc"}}})
	if head.Status != 200 || head.Fields.Get("grpc-status") != "7" || body != nil {
		t.Errorf("a gRPC call: %+v, %s", head, body)
	}
	if head, body := (Protocol{}).Refuse(r, nil, nil); head.Status != 403 || !json.Valid(body) || head.Fields.Has(l7.CrossingName) {
		t.Errorf("without a head: %+v, %s", head, body)
	}
	r.Reason = crossingv1.Reason_NO_IDENTITY
	if head, body := (Protocol{}).Refuse(r, nil, &l7.RequestHead{Method: "POST", Scheme: "http", Path: chatPath}); head.Status != 407 || !strings.Contains(string(body), "authentication_error") {
		t.Errorf("through a proxy: %+v, %s", head, body)
	}
}

// Every reason has a status, a type and a code.
func TestRefuseEveryReason(t *testing.T) {
	for n := range crossingv1.Reason_name {
		reason := crossingv1.Reason(n)
		head, body := Protocol{}.Refuse(&inspect.Refusal{Reason: reason}, nil, post(chatPath))
		var got refusal
		if err := json.Unmarshal(body, &got); err != nil || head.Status != l7.StatusOf(reason) || got.Error.Type == "" || got.Error.Code == "" {
			t.Errorf("%v: %d, %s, %v", reason, head.Status, body, err)
		}
	}
}
