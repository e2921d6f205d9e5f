package recorder

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
)

// BenchmarkOpenClose: what does one gateway's record of a crossing cost, alone
// and in company? Processor time is that of the whole process.
func BenchmarkOpenClose(b *testing.B) {
	for _, durable := range []bool{false, true} {
		for _, writers := range []int{1, 64} {
			name := map[bool]string{false: "async", true: "durable"}[durable]
			b.Run(fmt.Sprintf("%s/%d", name, writers), func(b *testing.B) {
				r := open(b, b.TempDir(), spool.SegmentSize)
				defer r.CloseSpool()
				recordAll(b, r, durable, writers)
			})
		}
	}
}

// recordAll opens and closes b.N crossings in so many goroutines.
func recordAll(b *testing.B, r *Recorder, durable bool, writers int) {
	b.Helper()
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	inParallel(b, writers, func(next func() bool) {
		h := half(r.RunID(), 0)
		h.Key.Ingress = peer.String()
		c := closeOf(h)
		for next() {
			h.Key.Sequence = r.Next(peer.String())
			if err := r.Open(h, durable, false); err != nil {
				b.Error(err)
				return
			}
			if err := r.Close(c); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// inParallel runs b.N steps in so many goroutines, whatever the machine's
// processors.
func inParallel(b *testing.B, writers int, run func(next func() bool)) {
	if writers == 1 {
		n := 0
		run(func() bool { n++; return n <= b.N })
		return
	}
	b.SetParallelism(writers / 2)
	b.RunParallel(func(pb *testing.PB) { run(pb.Next) })
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRecordDelivered: what does a record cost that is delivered, too? The
// control plane is in the process, and only acknowledges.
func BenchmarkRecordDelivered(b *testing.B) {
	p := newPlane(b)
	p.blind = true
	r := start(b, b.TempDir(), spool.SegmentSize, p)
	recordAll(b, r.Recorder, false, 64)
}
