package controlplane

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestSealedContentsOutlastARestart, and that they were given is in the environment's log,
// which is a real one.
func TestSealedContentsOutlastARestart(t *testing.T) {
	p := newPlane(t)
	p.publish(1, "")
	content := []byte("sealed")
	sum := sha256.Sum256(content)
	part := &controlv1.SealedPart{
		Crossing: "01a207e6-e4d8-7d3e-9a54-000000000001", Gateway: onprem1, Side: crossingv1.Side_EGRESS, Part: controlv1.SealedPart_REQUEST,
		Intent: "plan", Reviewer: "dpo", Created: timestamppb.New(time.Now()), RetentionDays: 1, Bytes: uint64(len(content)), Sha256: hex.EncodeToString(sum[:]),
	}
	stream, err := controlv1.NewSealedServiceClient(p.as("onprem.demo", "/sallyport/gateway/onprem-1")).UploadSealed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*controlv1.UploadSealedRequest{{Part: part}, {Data: content}} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p.start()
	given, err := controlv1.NewSealedServiceClient(p.operator()).OpenSealed(t.Context(), &controlv1.OpenSealedRequest{Crossing: part.GetCrossing()})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := given.Recv(); err != nil || r.GetPart().GetSha256() != part.GetSha256() {
		t.Fatalf("given %v, %v", r, err)
	}
	reader := p.cp.logs.Readers()["onprem.demo"]
	c, err := reader.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entered := 0
	for e, err := range reader.Entries(t.Context(), 0, c.Size) {
		if err != nil {
			t.Fatal(err)
		}
		if o := e.GetAct().GetOpened(); o != nil {
			entered++
			if o.GetSha256() != part.GetSha256() || o.GetPart() != "request" || e.GetAct().GetBy() == "" {
				t.Errorf("the log has %v", e)
			}
		}
	}
	if entered != 1 {
		t.Errorf("%d entries say that it was given, before the first byte was", entered)
	}
	if r, err := given.Recv(); err != nil || string(r.GetData()) != "sealed" {
		t.Errorf("given %v, %v", r, err)
	}
}
