package records

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

var goalRecords = flag.Int("n", 0, "records of TestStoreGoals; none, and it is skipped, if 0")

// TestStoreGoals prints what a store of -n records takes, in rows that e2e/bench
// reads. It fails on a wrong answer, never on a figure.
func TestStoreGoals(t *testing.T) {
	if *goalRecords == 0 {
		t.Skip("say how many records: -n 1000000")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one core
	dir := t.TempDir()
	s := openIn(t, dir)
	n := *goalRecords
	figure(t, "ingest", "records/s of CPU", ingest(t, s, n))
	figure(t, "hot store", "bytes/crossing", float64(size(t, filepath.Join(dir, liveName)))/float64(n))
	last := sample(t, s)
	goal(t, "trace by id", func(i int) int {
		return len(find(t, s, Query{Trace: last[i*37%len(last)].Record.GetTrace()}))
	})
	hour, whole := Window{noon.Add(-time.Hour), noon}, Window{noon.Add(-24 * time.Hour), noon}
	goal(t, "pair-hour", func(int) int {
		all, err := s.Talkers(t.Context(), "aws", "azure", hour, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	})
	goal(t, "24 h matrix", func(int) int {
		cells, err := s.Matrix(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		return len(cells)
	})
	goal(t, "unmatched of an hour", func(int) int {
		return len(find(t, s, Query{Unmatched: true, Window: hour, Limit: 100}))
	})
	cpu := cpuTime(t)
	maintain(t, s, noon.Add(time.Hour))
	archiving := cpuTime(t) - cpu
	figure(t, "archive", "bytes/crossing", float64(size(t, filepath.Join(dir, "archive")))/float64(n))
	figure(t, "archive", "CPU us/crossing", archiving.Seconds()*1e6/float64(n))
	cpu = cpuTime(t)
	maintain(t, s, noon.Add(8*days))
	figure(t, "leaving the database", "CPU us/crossing", (cpuTime(t)-cpu).Seconds()*1e6/float64(n))
	goal(t, "trace by id, archive alone", func(i int) int {
		return len(find(t, s, Query{Trace: last[i*37%len(last)].Record.GetTrace()}))
	})
	goal(t, "24 h matrix, archive alone", func(int) int {
		cells, err := s.Matrix(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		return len(cells)
	})
}

// ingest puts n records, and says how many it could in a second of one core.
func ingest(t *testing.T, s Store, n int) float64 {
	t.Helper()
	var took, waited time.Duration
	keep := func(all []Joined) {
		at, cpu := time.Now(), cpuTime(t)
		put(t, s, all...)
		took += cpuTime(t) - cpu
		waited += time.Since(at)
	}
	batch := make([]Joined, 0, 2_000)
	for j := range throughDay(n) {
		if batch = append(batch, j); len(batch) == cap(batch) {
			keep(batch)
			batch = batch[:0]
		}
	}
	keep(batch)
	t.Logf("ingest: %.0f records/s by the clock, fsyncs and neighbours included", float64(n)/waited.Seconds())
	return float64(n) / took.Seconds()
}

func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sample of the records that are kept.
func sample(t *testing.T, s Store) []Joined {
	t.Helper()
	return find(t, s, Query{Limit: 10_000})
}

// figure prints a figure.
func figure(t *testing.T, name, unit string, value float64) {
	t.Helper()
	t.Logf("goal\t%s\t%s\t%g", name, unit, value)
}

// goal asks a hundred times, and prints the median.
func goal(t *testing.T, name string, ask func(i int) int) {
	t.Helper()
	took := make([]time.Duration, 100)
	for i := range took {
		began := time.Now()
		if ask(i) == 0 {
			t.Fatalf("%s: no answer", name)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	figure(t, name, "p50 ms", took[50].Seconds()*1e3)
	t.Logf("%s: p99 %v", name, took[99])
}

// size of the files of a directory.
func size(t *testing.T, dir string) int64 {
	t.Helper()
	var sum int64
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}
