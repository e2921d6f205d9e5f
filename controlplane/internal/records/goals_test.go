package records

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
)

var goalRecords = flag.Int("n", 0, "records of TestStoreGoals; none, and it is skipped, if 0")

// TestStoreGoals prints what a store of -n records takes, and holds it to its goals.
func TestStoreGoals(t *testing.T) {
	if *goalRecords == 0 {
		t.Skip("say how many records: -n 1000000")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one core
	dir := t.TempDir()
	s := openIn(t, dir)
	all := day(*goalRecords)
	began := time.Now()
	for batch := range slices.Chunk(all, 2_000) {
		put(t, s, batch...)
	}
	rate := float64(len(all)) / time.Since(began).Seconds()
	t.Logf("ingest: %.0f records/s, %d bytes each", rate, size(t, dir)/int64(len(all)))
	if rate < 20_000 {
		t.Errorf("ingest: %.0f records/s, and 20,000 are the goal", rate)
	}
	hour, whole := Window{noon.Add(-time.Hour), noon}, Window{noon.Add(-24 * time.Hour), noon}
	goal(t, "trace", time.Millisecond, func(i int) int {
		return len(find(t, s, Query{Trace: all[i*7919%len(all)].Record.GetTrace()}))
	})
	goal(t, "pair-hour", 10*time.Millisecond, func(int) int {
		found, err := s.Talkers(t.Context(), "aws", "azure", hour, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	})
	goal(t, "24 h matrix", 50*time.Millisecond, func(int) int {
		cells, err := s.Matrix(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		return len(cells)
	})
	goal(t, "unmatched of an hour", 10*time.Millisecond, func(int) int {
		return len(find(t, s, Query{Unmatched: true, Window: hour, Limit: 100}))
	})
}

// goal asks a hundred times, and holds the median to the goal.
func goal(t *testing.T, name string, most time.Duration, ask func(i int) int) {
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
	t.Logf("%s: p50 %v, p99 %v", name, took[50], took[99])
	if took[50] > most {
		t.Errorf("%s: p50 %v, and %v is the goal", name, took[50], most)
	}
}

// size of the files of a store.
func size(t *testing.T, dir string) int64 {
	t.Helper()
	var sum int64
	files, err := filepath.Glob(filepath.Join(dir, liveName, "*"))
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
