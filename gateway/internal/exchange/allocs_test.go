//go:build !race

package exchange

import "testing"

// TestRecordsAllocateLittle: of a crossing's record, each gateway makes its texts
// and its account.
func TestRecordsAllocateLittle(t *testing.T) {
	r := newRecorded(t)
	for name, record := range map[string]func(testing.TB){"egress": r.depart, "ingress": r.arrive} {
		if n := testing.AllocsPerRun(1000, func() { record(t) }); n > 2 {
			t.Errorf("%s: %v allocations, want at most 2", name, n)
		}
	}
}
