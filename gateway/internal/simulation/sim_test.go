package simulation

import (
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	schedules = flag.Int("schedules", 120, "how many schedules TestSim runs")
	first     = flag.Uint64("first", 1, "the seed of the first one")
	only      = flag.Uint64("seed", 0, "the only seed that TestSim runs, and says all about")
	tries     = flag.Int("tries", 10, "how often it runs that one")
)

// shards is how many schedules run at a time.
const shards = 2

// TestSim runs schedules of crossings and faults from seeds, and holds after each that
// every crossing is recorded or named.
func TestSim(t *testing.T) {
	if *only != 0 {
		t.Logf("seed %d: %s", *only, newPlan(*only))
		for range *tries {
			runSeed(t, *only, testing.Verbose())
		}
		return
	}
	began := time.Now()
	var next, wrong, displaced, claims, answers, refused atomic.Int64
	t.Run("schedules", func(t *testing.T) {
		for i := range shards {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1); n <= int64(*schedules) && wrong.Load() < 10; n = next.Add(1) {
					right, w := runSeed(t, *first+uint64(n)-1, false)
					if !right {
						wrong.Add(1)
					}
					displaced.Add(int64(w.displaced()))
					c, a, r := w.lies()
					claims.Add(int64(c))
					answers.Add(int64(a))
					refused.Add(int64(r))
				}
			})
		}
	})
	t.Logf("%d schedules in %s; %d times, what was asked or told about a claim came twice or in another's place; %d epochs were claimed twice, of which %d were refused by a peer, and %d answered twice",
		*schedules, time.Since(began).Round(time.Millisecond), displaced.Load(), claims.Load(), refused.Load(), answers.Load())
	if *schedules >= 100 && (displaced.Load() == 0 || refused.Load() == 0 || answers.Load() == 0) {
		t.Error("no turn of an exchange was harmed, or no gateway lied: the test tests little")
	}
}

// runSeed runs one schedule, and says whether all was right.
func runSeed(t *testing.T, seed uint64, verbose bool) (right bool, w *world) {
	right = t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w = newWorld(t, newPlan(seed), verbose)
			for _, what := range w.run() {
				t.Errorf("seed %d: %s", seed, what)
			}
			if verbose {
				w.control.log(t.Logf)
				for _, g := range w.gateways {
					t.Logf("%s refused %s", g.name, g.refused())
				}
			}
			if t.Failed() {
				t.Errorf("replay: go test ./gateway/internal/simulation -run TestSim -seed %d", seed)
			}
		})
	})
	return right, w
}
