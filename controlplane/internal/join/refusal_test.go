package join

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join/jointest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// counting is a count of failures, n seconds after the jointest.Start.
func counting(gateway, run string, n int, count uint64) *crossingv1.Frame {
	return &crossingv1.Frame{Gateway: gateway, Run: run, Refusal: &crossingv1.Refusal{
		Reason: crossingv1.Reason_NO_IDENTITY, Prefix: "203.0.113.0/24", Listener: "attach", Count: count,
		Second: timestamppb.New(jointest.Start.Add(time.Duration(n) * time.Second)),
	}}
}

func counted(found []*controlv1.GatewayRefusal) []uint64 {
	var counts []uint64
	for _, r := range found {
		counts = append(counts, r.GetRefusal().GetCount())
	}
	return counts
}

func equal(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: %v, want %v", what, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	j := New()
	for _, f := range []*crossingv1.Frame{
		counting(jointest.Azure1, jointest.IngressRun, 2, 20),
		counting(jointest.Azure1, jointest.IngressRun, 0, 1),
		counting(jointest.Azure1, jointest.IngressRun, 3, 30),
		counting(jointest.Azure1, jointest.IngressRun, 2, 21),
		counting(jointest.Azure1, jointest.IngressRun, 2, 20), // delivered again
		counting(jointest.Azure1, jointest.IngressRun, 0, 1),  // delivered again
	} {
		add(t, j, f)
	}
	equal(t, "all, oldest first", counted(j.Refusals(time.Time{})), 1, 20, 21, 30)
	equal(t, "since a second", counted(j.Refusals(jointest.Start.Add(2*time.Second))), 20, 21, 30)
	equal(t, "since within a second", counted(j.Refusals(jointest.Start.Add(2*time.Second+1))), 30)
	equal(t, "since later", counted(j.Refusals(jointest.Start.Add(time.Hour))))
}

// TestRefusalsOfTwo: who counted, and in which run, is part of a count.
func TestRefusalsOfTwo(t *testing.T) {
	j := New()
	add(t, j, counting(jointest.Azure1, jointest.IngressRun, 0, 1), counting(jointest.AWS1, jointest.IngressRun, 0, 1), counting(jointest.Azure1, jointest.Run, 0, 1))
	found := j.Refusals(time.Time{})
	if len(found) != 3 || found[0].GetGateway() != jointest.AWS1 || found[1].GetGateway() != jointest.Azure1 {
		t.Errorf("refusals are %v", found)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	j := New()
	const over = 10
	for n := range maxRefusals + over {
		if err := j.Add(counting(jointest.Azure1, jointest.IngressRun, n, uint64(n)+1)); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		found := j.Refusals(time.Time{})
		if len(found) != maxRefusals || found[0].GetRefusal().GetCount() != over+1 {
			t.Errorf("kept %d, from count %d on, want %d from %d on", len(found), found[0].GetRefusal().GetCount(), maxRefusals, over+1)
		}
	}
	check()
	add(t, j, counting(jointest.Azure1, jointest.IngressRun, 0, 1)) // it went, and does not come back
	check()
}

// BenchmarkPortScan answers what a count costs in a second that has thousands.
func BenchmarkPortScan(b *testing.B) {
	j := New()
	for n := 0; b.Loop(); n++ {
		if err := j.Add(counting(jointest.Azure1, jointest.IngressRun, n/4096, uint64(n)+1)); err != nil {
			b.Fatal(err)
		}
	}
}
