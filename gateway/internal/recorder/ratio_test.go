package recorder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
)

// TestSpoolRatios prints what the spool is to the disk that it is on, in one run:
//
//	SALLYPORT_SPOOL_RATIOS=1 go test ./gateway/internal/recorder -run SpoolRatios -v
//
// Rounds of each follow one another, and the median counts: what else the machine does
// meets them all.
func TestSpoolRatios(t *testing.T) {
	if os.Getenv("SALLYPORT_SPOOL_RATIOS") == "" {
		t.Skip("SALLYPORT_SPOOL_RATIOS is not set")
	}
	const rounds, length = 7, time.Second
	var raw, one, many, async []rate
	for range rounds {
		raw = append(raw, rawSync(t, length))
		one = append(one, spoolRate(t, 1, true, length))
		many = append(many, spoolRate(t, 64, true, length))
		async = append(async, spoolRate(t, 1, false, length))
	}
	r, o, m, a := median(raw), median(one), median(many), median(async)
	t.Logf("one writer, fdatasync each: %s", r)
	t.Logf("durable Open, one writer: %s; p50 is %.2f of fdatasync's (goal 3)", o, ratio(o.p50, r.p50))
	t.Logf("durable Open, 64 writers: %s; %.1f times one writer's rate (goal 15)", m, m.each/r.each)
	t.Logf("async Open, one writer: %s", a)
	if m.each < 15*r.each || m.cpu > 6*time.Microsecond || o.p50 > 3*r.p50 {
		t.Error("a goal is missed")
	}
}

// rate is what a round reached.
type rate struct {
	each float64 // a second
	p50  time.Duration
	cpu  time.Duration // of each
}

func (r rate) String() string { return fmt.Sprintf("%.0f/s, p50 %s, CPU %s", r.each, r.p50, r.cpu) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func median(rates []rate) rate {
	slices.SortFunc(rates, func(a, b rate) int { return int(a.each - b.each) })
	return rates[len(rates)/2]
}

// measure runs so many writers for a time.
func measure(t *testing.T, writers int, length time.Duration, write func(writer int) error) rate {
	t.Helper()
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	before, began := usedTime(t), time.Now()
	for w := range writers {
		wg.Go(func() {
			var took []time.Duration
			for now := began; now.Sub(began) < length; {
				if err := write(w); err != nil {
					t.Error(err)
					return
				}
				next := time.Now()
				took, now = append(took, next.Sub(now)), next
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	wg.Wait()
	passed, used := time.Since(began), usedTime(t)-before
	slices.Sort(all)
	n := len(all)
	return rate{float64(n) / passed.Seconds(), all[n/2], used / time.Duration(n)}
}

func usedTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rawSync appends entries as long as an opening's to a file like a segment, one at a
// time, each with its fdatasync.
func rawSync(t *testing.T, length time.Duration) rate {
	t.Helper()
	const size = 512
	f, err := disk.OS{}.Open(filepath.Join(t.TempDir(), "raw"), os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entry, end, room := make([]byte, size), int64(0), int64(0)
	zeros := make([]byte, 256<<10)
	return measure(t, 1, length, func(int) error {
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
func spoolRate(t *testing.T, writers int, durable bool, length time.Duration) rate {
	t.Helper()
	r := open(t, t.TempDir(), spool.SegmentSize)
	defer r.CloseSpool()
	halves := make([]func() error, writers)
	for w := range halves {
		h := half(r.RunID(), 0)
		halves[w] = func() error {
			h.Key.Sequence = r.Next(peer.String())
			return r.Open(h, durable, false)
		}
	}
	return measure(t, writers, length, func(w int) error { return halves[w]() })
}
