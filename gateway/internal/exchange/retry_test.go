package exchange

import (
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestOnlyIdempotentIsRetried: a destination is asked again only where the intents
// of both gateways' policies say that twice is as good as once.
func TestOnlyIdempotentIsRetried(t *testing.T) {
	saying := func(serial uint64, again bool) *policy.Policy {
		return policytest.Estate(t, serial, func(p *policyv1.Policy) { p.Intents[0].Idempotent = again })
	}
	for _, c := range []struct {
		name      string
		near, far bool
	}{
		{"neither says so", false, false},
		{"both say so", true, true},
		{"only the egress gateway's", true, false},
		{"only the ingress gateway's", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, saying(1, c.near))
			w.there = saying(2, c.far)
			asked := false
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				asked = true
				if r.Retry != (c.near && c.far) {
					t.Errorf("retry %t", r.Retry)
				}
				_, err := readAll(r)
				return answer(200, ""), err
			}
			if w.ask(t, request("POST", "/v1/chat", "hello")); !asked {
				t.Error("not asked")
			}
		})
	}
}

// TestTriesAreRecorded where the first was not enough, by the gateway that tried.
func TestTriesAreRecorded(t *testing.T) {
	for tries, want := range []uint32{0, 0, 2, 3} {
		w := newWorld(t, nil)
		w.destination = func(r *upstream.Request) (*upstream.Response, error) {
			_, err := readAll(r)
			a := answer(200, "")
			a.Tries = tries
			return a, err
		}
		w.ask(t, request("POST", "/v1/chat", "hello"))
		if r := w.joined(t); r.GetIngress().GetTries() != want || r.GetEgress().GetTries() != 0 || !r.GetAgree() {
			t.Errorf("%d tries: record %v", tries, r)
		}
	}
}
