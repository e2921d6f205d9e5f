package s3

import (
	"encoding/xml"
	"strconv"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestRefuse: an SDK finds a code that it knows, and all that there is to say.
func TestRefuse(t *testing.T) {
	const id = "019a1b2c-0000-7000-8000-000000000001"
	head := &l7.RequestHead{Method: "PUT", Path: "/b/a%26b?partNumber=1"}
	for name, c := range map[string]struct {
		refusal inspect.Refusal
		status  int
		code    string
	}{
		"denied":          {inspect.Refusal{Reason: crossingv1.Reason_NO_INTENT}, 403, "AccessDenied"},
		"without proof":   {inspect.Refusal{Reason: crossingv1.Reason_NO_IDENTITY}, 401, "AccessDenied"},
		"too large":       {inspect.Refusal{Reason: crossingv1.Reason_TOO_LARGE, Status: 413}, 413, "EntityTooLarge"},
		"a large head":    {inspect.Refusal{Reason: crossingv1.Reason_TOO_LARGE}, 431, "RequestHeaderSectionTooLarge"},
		"over a limit":    {inspect.Refusal{Reason: crossingv1.Reason_OVER_LIMIT}, 429, "SlowDown"},
		"malformed":       {inspect.Refusal{Reason: crossingv1.Reason_MALFORMED}, 400, "InvalidRequest"},
		"not implemented": {inspect.Refusal{Reason: crossingv1.Reason_NOT_ENFORCEABLE, Status: 501}, 501, "NotImplemented"},
		"unreachable":     {inspect.Refusal{Reason: crossingv1.Reason_UNREACHABLE, Detail: "a < b & c"}, 503, "ServiceUnavailable"},
	} {
		c.refusal.Crossing = id
		answer, body := Protocol{}.Refuse(&c.refusal, nil, head)
		var got refusal
		if err := xml.Unmarshal(body, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := l7.Sentence(c.refusal.Detail, id, c.refusal.Reason, "")
		if answer.Status != c.status || got.Code != c.code || got.Message != want || got.Resource != "/b/a%26b" || got.RequestID != id {
			t.Errorf("%s: %d %+v", name, answer.Status, got)
		}
		if f := answer.Fields; f.Get("content-type") != "application/xml" || f.Get("content-length") != strconv.Itoa(len(body)) {
			t.Errorf("%s: %v of %d bytes", name, f, len(body))
		}
	}
}

// TestNothingToRead: heads tell all that there is.
func TestNothingToRead(t *testing.T) {
	p := Protocol{}
	if r, ask := p.Request(&l7.RequestHead{Method: "PUT", Path: "/b/k"}); r != nil || ask.Operation != "" {
		t.Errorf("%T, %+v", r, ask)
	}
	if a := p.Answer(nil, &l7.ResponseHead{Status: 200}, nil); a != nil {
		t.Errorf("%T", a)
	}
}
