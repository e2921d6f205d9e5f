package recorder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
)

// BenchmarkRates is what the spool is to the disk that it is on: openings of so many
// writers, and one who writes and syncs as many bytes to a file like a segment. Beside
// the rate it gives the median time of one, and the process's CPU time for it.
func BenchmarkRates(b *testing.B) {
	b.Run("fdatasync/1", rawSync)
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("durable/%d", writers), func(b *testing.B) { spoolRate(b, writers, true) })
	}
	b.Run("async/1", func(b *testing.B) { spoolRate(b, 1, false) })
}

// measure has so many writers write b.N times in all.
func measure(b *testing.B, writers int, write func(writer int) error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, writers)
	var group sync.WaitGroup
	b.ResetTimer()
	before, began := processorTime(b), time.Now()
	for w := range writers {
		group.Go(func() {
			for now := time.Now(); left.Add(-1) >= 0; {
				if err := write(w); err != nil {
					b.Error(err)
					return
				}
				next := time.Now()
				took[w], now = append(took[w], next.Sub(now)), next
			}
		})
	}
	group.Wait()
	passed, used := time.Since(began), processorTime(b)-before
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) < b.N {
		return // it has failed
	}
	b.ReportMetric(float64(b.N)/passed.Seconds(), "1/s")
	b.ReportMetric(float64(all[b.N/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-us")
}

// rawSync appends entries as long as an opening's to a file like a segment, one at a
// time, each with its fdatasync.
func rawSync(b *testing.B) {
	const size = 512
	f, err := disk.OS{}.Open(filepath.Join(b.TempDir(), "raw"), os.O_CREATE|os.O_RDWR)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	entry, end, room := make([]byte, size), int64(0), int64(0)
	zeros := make([]byte, 256<<10)
	measure(b, 1, func(int) error {
		if end+size > room {
			if _, err := f.WriteAt(zeros, room); err != nil {
				return err
			}
			room += int64(len(zeros))
		}
		if _, err := f.WriteAt(entry, end); err != nil {
			return err
		}
		end += size
		return f.Sync()
	})
}

// spoolRate opens crossings.
func spoolRate(b *testing.B, writers int, durable bool) {
	b.Helper()
	r := open(b, b.TempDir(), spool.SegmentSize)
	defer r.CloseSpool()
	halves := make([]func() error, writers)
	for w := range halves {
		h := half(r.RunID(), 0)
		halves[w] = func() error {
			h.Key.Sequence = r.Next(peer.String())
			return r.Open(h, durable, false)
		}
	}
	measure(b, writers, func(w int) error { return halves[w]() })
}
