package bench

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway"
)

// propagationBound is the goal for a policy change to be enforced at all three
// gateways, at the 99th percentile.
const propagationBound = 100 * time.Millisecond

// TestPropagation measures the time from the operator's publish call until the
// last of three gateways enforces the policy: signed, sent, verified, prepared
// everywhere and made current.
// What else the machine does can only add to it: the best of three rounds
// counts, and a bound is missed only in rounds that had the machine for
// themselves.
func TestPropagation(t *testing.T) {
	m := meshtest.Start(t, nil)
	var p50, p99 time.Duration
	for round := range 3 {
		before, began := spentNow(t), time.Now()
		p50, p99 = propagate(t, m, round)
		if raceEnabled || p99 <= propagationBound {
			return // under the race detector the figure says what the detector does
		}
		if others := before.others(t, time.Since(began), runtime.NumCPU()); others > quiet {
			t.Logf("round %d says what the machine did: others took %.0f%% of it", round+1, 100*others)
			return
		}
	}
	// Beside other tests the figure is printed, and a median beyond the goal fails.
	if os.Getenv("SALLYPORT_FIGURES") != "" {
		t.Errorf("p99 %s, want at most %s", p99, propagationBound)
	}
	if p50 > propagationBound {
		t.Errorf("p50 %s, want at most %s", p50, propagationBound)
	}
}

// propagate publishes policies one after another.
func propagate(t *testing.T, m *meshtest.Mesh, round int) (p50, p99 time.Duration) {
	t.Helper()
	const changes = 200
	text := m.PolicyText(t)
	took := make([]time.Duration, 0, changes)
	for i := round * changes; i < (round+1)*changes; i++ {
		intent := fmt.Sprintf("\nintents:\n  - name: change-%d\n    deny: {from: llm, to: orchestrator}\n", i)
		policy := []byte(strings.Replace(text, "\nintents:\n", intent, 1))
		serial := uint64(i + 2)
		var enforced sync.WaitGroup
		last := make([]time.Time, 0, len(m.Gateways))
		var mu sync.Mutex // guards last
		for _, g := range m.Gateways {
			enforced.Go(func() {
				awaitSerial(m, g, serial)
				mu.Lock()
				defer mu.Unlock()
				last = append(last, time.Now())
			})
		}
		began := time.Now()
		if _, err := m.Apply(m.Context, policy); err != nil {
			t.Fatal(err)
		}
		enforced.Wait()
		took = append(took, slices.MaxFunc(last, time.Time.Compare).Sub(began))
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	p50, p99 = took[changes/2], took[changes*99/100]
	t.Logf("policy change to enforced at %d gateways: p50 %s, p99 %s, max %s over %d changes",
		len(m.Gateways), p50, p99, took[changes-1], changes)
	return p50, p99
}

func awaitSerial(m *meshtest.Mesh, g *gateway.Gateway, serial uint64) {
	for {
		changed := g.PolicyChanged()
		if g.Policy().Serial >= serial {
			return
		}
		select {
		case <-changed:
		case <-m.Context.Done():
			return
		}
	}
}
