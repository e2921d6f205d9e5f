package controlplane

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// TestSealedContentsOutlastARestart, and that they were given is in the environment's log,
// which is a real one.
func TestSealedContentsOutlastARestart(t *testing.T) {
	t.Parallel()
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
	for range 2 { // each time is an entry of its own
		given, err := controlv1.NewSealedServiceClient(p.operator()).OpenSealed(t.Context(), &controlv1.OpenSealedRequest{Crossing: part.GetCrossing()})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := given.Recv(); err != nil || r.GetPart().GetSha256() != part.GetSha256() {
			t.Fatalf("given %v, %v", r, err)
		}
		if r, err := given.Recv(); err != nil || string(r.GetData()) != "sealed" {
			t.Fatalf("given %v, %v", r, err)
		}
	}
	for size := uint64(1); ; size++ {
		entered := p.opened("onprem.demo", size)
		for _, a := range entered {
			if o := a.GetOpened(); o.GetSha256() != part.GetSha256() || o.GetPart() != "request" || a.GetBy() != "spiffe://mesh.demo/operators/alice" {
				t.Errorf("the log has %v", a)
			}
		}
		if len(entered) == 2 {
			break
		}
	}
}

// opened are the acts of giving that a log of so many entries, or more, has.
func (p *plane) opened(td string, size uint64) (all []*logv1.Act) {
	p.t.Helper()
	c, reader := p.logged(td, size)
	for e, err := range reader.Entries(p.t.Context(), 0, c.Size) {
		if err != nil {
			p.t.Fatal(err)
		}
		if e.GetAct().GetOpened() != nil {
			all = append(all, e.GetAct())
		}
	}
	return all
}
