package pack

import (
	"flag"
	"os"
	"testing"
	"time"
)

var goals = flag.Int("goals", 0, "crossings of TestGoals; none, and it is skipped, if 0")

// TestGoals prints what it takes to check a pack of -goals crossings, in rows that
// e2e/bench reads.
func TestGoals(t *testing.T) {
	if *goals == 0 {
		t.Skip("for e2e/bench: give -goals")
	}
	path, m := large(t, *goals)
	file := must[*os.File](t)(os.Open(path))
	defer file.Close()
	size := must[os.FileInfo](t)(file.Stat()).Size()
	began := time.Now()
	r, err := Check(file, size, believing(t, m), nil)
	if err != nil || len(r.Findings.All) > 0 || r.Crossings != *goals {
		t.Fatal(err, r.Crossings, found(r))
	}
	t.Logf("goal\toffline verify\ts\t%.2f", time.Since(began).Seconds())
	t.Logf("goal\tevidence pack\tbytes/crossing\t%d", size/int64(*goals))
}
