//go:build !race

package exchange

import "testing"

// TestRecordsAllocateLittle: of a crossing's record, the egress gateway makes its
// texts. What the ingress gateway makes of them is as it was of the one before.
func TestRecordsAllocateLittle(t *testing.T) {
	r := newRecorded(t)
	for _, c := range []struct {
		gateway string
		record  func(testing.TB)
		want    float64
	}{{"egress", r.depart, 1}, {"ingress", r.arrive, 0}} {
		if n := testing.AllocsPerRun(1000, func() { c.record(t) }); n > c.want {
			t.Errorf("%s: %v allocations, want %v", c.gateway, n, c.want)
		}
	}
}
