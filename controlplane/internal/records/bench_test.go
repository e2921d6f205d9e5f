package records

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkPutBesideColdHours puts new crossings, 2,000 at a time, into a store of which
// a day is in the archive alone: with strays there whose ids were made in the same hour as
// theirs, and without.
func BenchmarkPutBesideColdHours(b *testing.B) {
	for _, strays := range []int{0, 2_000} {
		b.Run(fmt.Sprintf("strays=%d", strays), func(b *testing.B) {
			const batch = 2_000
			s := openFor(b, b.TempDir(), Config{Hot: time.Hour})
			rnd, at := rand.New(rand.NewPCG(3, 4)), noon.Add(6*time.Hour) //nolint:gosec // the same each time
			put(b, s, day(20_000)...)
			var strayed []Joined
			for i := range strays {
				strayed = append(strayed, openedLater(crossingAt(rnd, i, at), -10*time.Hour))
			}
			put(b, s, strayed...)
			maintain(b, s, noon.Add(2*time.Hour))
			all := make([]Joined, batch)
			var cpu time.Duration
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				for k := range all {
					all[k] = crossingAt(rnd, i*batch+k, at.Add(time.Duration(i*batch+k)*time.Millisecond))
				}
				before := cpuTime(b)
				b.StartTimer()
				put(b, s, all...)
				cpu += cpuTime(b) - before
			}
			b.ReportMetric(float64(b.N*batch)/cpu.Seconds(), "records/s-of-CPU")
		})
	}
}
