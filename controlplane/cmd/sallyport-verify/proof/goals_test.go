package proof

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
)

var goals = flag.Int("n", 0, "checks of TestGoals; none, and it is skipped, if 0")

// TestGoals prints the size of a proof of one of a thousand crossings of an epoch, in a log
// of 3,000 entries, and what it takes to check it, in rows that e2e/bench reads.
func TestGoals(t *testing.T) {
	if *goals == 0 {
		t.Skip("for e2e/bench: give -n")
	}
	m := busy(t, 1000)
	for len(m.Near.Log.Entries) < 3000 {
		m.Beat()
	}
	k := parseKeys(t, m.Keys())
	whole := m.Proof(m.Near, 700, verifytest.Egress)
	took := make([]float64, *goals)
	for i := range took {
		began := time.Now()
		if _, err := Check(whole, k); err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(began).Seconds() * 1e3
	}
	slices.Sort(took)
	t.Logf("goal\tproof of one crossing\tbytes\t%d", len(whole))
	t.Logf("goal\tchecking a proof\tp50 ms\t%.4f", took[len(took)/2])
	t.Logf("goal\tproof of one crossing with both gateways' frames\tbytes\t%d", len(m.Proof(m.Near, 700, verifytest.Egress, verifytest.Ingress)))
}
