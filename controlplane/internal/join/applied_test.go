package join

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func appliedAt(gateway, act string, at time.Time) *crossingv1.Frame {
	return &crossingv1.Frame{Gateway: gateway, Run: strings.Repeat("5c", 16), Applied: &crossingv1.Applied{
		Act: act, Kind: policyv1.Act_QUARANTINE, Subject: "spiffe://onprem.demo/ai/orchestrator", At: timestamppb.New(at),
	}}
}

func TestAppliedKeepsTheFirstTime(t *testing.T) {
	j, noon := New(), time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, f := range []*crossingv1.Frame{
		appliedAt("spiffe://b/sallyport/gateway/b-1", "one", noon.Add(time.Second)),
		appliedAt("spiffe://a/sallyport/gateway/a-1", "one", noon.Add(time.Minute)),
		appliedAt("spiffe://a/sallyport/gateway/a-1", "one", noon),                  // it came late
		appliedAt("spiffe://a/sallyport/gateway/a-1", "one", noon.Add(2*time.Hour)), // said again after a crash
	} {
		if err := j.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	all := j.Applied()
	if len(all) != 2 || all[0].Gateway != "spiffe://a/sallyport/gateway/a-1" || !all[0].GetAt().AsTime().Equal(noon) ||
		!all[1].GetAt().AsTime().Equal(noon.Add(time.Second)) {
		t.Errorf("applied: %v", all)
	}
}

func TestAppliedIsBounded(t *testing.T) {
	j := New()
	for i := range maxApplied + 10 {
		if err := j.Add(appliedAt("spiffe://a/sallyport/gateway/a-1", fmt.Sprint(i), time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(j.Applied()); n != maxApplied {
		t.Errorf("%d acts are kept of one gateway, want %d", n, maxApplied)
	}
}
