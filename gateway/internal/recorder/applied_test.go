package recorder

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestApplied: that an act was put in force is in the spool when Applied returns, and
// leaves nothing open.
func TestApplied(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 0)
	a := &crossingv1.Applied{
		Act: "sha256:" + strings.Repeat("3f", 32), Kind: policyv1.Act_QUARANTINE,
		Subject: "spiffe://onprem.demo/ai/orchestrator", At: timestamppb.Now(),
	}
	if err := r.Applied(a); err != nil {
		t.Fatal(err)
	}
	if n := len(r.open.keys()); n != 0 {
		t.Errorf("%d crossings are open", n)
	}
	if err := r.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	frames := spooled(t, r.cfg.Dir)
	if len(frames) != 1 || !proto.Equal(frames[0].GetApplied(), a) || frames[0].GetRun() != r.RunID() {
		t.Errorf("spooled: %v", frames)
	}
	if err := r.Applied(a); err == nil {
		t.Error("an act was recorded in a spool that is closed")
	}
}
