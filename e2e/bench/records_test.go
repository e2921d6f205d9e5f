//go:build linux

package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What is measured of the record. The figures of the spool are those of its package's
// BenchmarkRates, in which a file of the same disk is written and synced, too.
const (
	statingCPU  = "statements of a crossing at both gateways, CPU us"
	openRate    = "durable openings of 64 writers, 1/s"
	openCPU     = "durable opening, 64 writers, CPU us"
	open1       = "durable opening, 1 writer, p50, us"
	open16      = "durable opening, 16 writers, p50, us"
	openAsync   = "opening with record: async, p50, us"
	reconcileBy = "digests compared a crossing, 0.15 % of them at fault"
)

// recordGoals are the rows of the record.
func recordGoals() []goal {
	return []goal{
		{ours: "statements", kind: statingCPU, peer: "sha-256", limit: 2.5},
		{ours: "statements", kind: statingCPU, peer: "ed25519", limit: 0.02},
		{ours: "statements", kind: reconcileBy, limit: 0.1},
		{ours: "spool", kind: openRate, peer: "fdatasync", least: true, limit: 15},
		{ours: "spool", kind: openCPU, limit: 6},
		{ours: "spool", kind: open1, peer: "fdatasync", limit: 3},
		{ours: "spool", kind: open16, peer: "fdatasync", limit: 3},
		{ours: "spool", kind: openAsync, peer: "fdatasync", limit: 0.05},
	}
}

// TestRecords prints what the record costs, in the form of TestRatios. Run by its name
// alone it has its rounds, else it is a glimpse of one. It fails on an error and on a
// row that is missing, never on a figure.
func TestRecords(t *testing.T) {
	n, size := 1, 10_000
	run := flag.Lookup("test.run").Value.String()
	full := wanted(t) || strings.TrimSuffix(run, "$") == t.Name()
	if full {
		n, size = *rounds, 200_000
	}
	spool, err := buildTest(t.Context(), "gateway/internal/recorder")
	if err != nil {
		t.Fatal(err)
	}
	f := &figures{samples: map[cell][]float64{}, missing: map[string]string{}}
	for range n {
		if err := recordRound(t.Context(), f, spool, size); err != nil {
			t.Fatal(err)
		}
	}
	reportRecords(t, f, full)
}

// recordRound measures everything once.
func recordRound(ctx context.Context, f *figures, spool string, size int) error {
	for _, m := range []struct {
		at      cell
		size    int
		measure func(crossings int) (float64, error)
	}{
		{cell{"sha-256", statingCPU}, size, hashing},
		{cell{"statements", statingCPU}, size, stating},
		{cell{"ed25519", statingCPU}, size / 50, signing},
		{cell{"statements", reconcileBy}, size, reconciling},
	} {
		v, err := m.measure(m.size)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", m.at.kind, m.at.pair, err)
		}
		f.samples[m.at] = append(f.samples[m.at], v)
	}
	return spoolRound(ctx, f, spool, max(100*time.Millisecond, time.Duration(size)*5*time.Microsecond))
}

// rates are what a row of BenchmarkRates says, by unit.
type rates map[string]float64

// spoolRound runs the spool's benchmark, each of its rows for that time.
func spoolRound(ctx context.Context, f *figures, spool string, length time.Duration) error {
	cmd := exec.CommandContext(ctx, spool, "-test.run=^$", "-test.bench=^BenchmarkRates$", "-test.benchtime="+length.String())
	cmd.Dir = os.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("measure the spool: %w\n%s", err, out)
	}
	rows := parseRates(string(out))
	for _, m := range []struct {
		pair, kind, row, unit string
	}{
		{"spool", openRate, "durable/64", "1/s"},
		{"fdatasync", openRate, "fdatasync/1", "1/s"},
		{"spool", openCPU, "durable/64", "cpu-us"},
		{"spool", open1, "durable/1", "p50-us"},
		{"spool", open16, "durable/16", "p50-us"},
		{"spool", openAsync, "async/1", "p50-us"},
		{"fdatasync", open1, "fdatasync/1", "p50-us"},
		{"fdatasync", open16, "fdatasync/1", "p50-us"},
		{"fdatasync", openAsync, "fdatasync/1", "p50-us"},
	} {
		if v, measured := rows[m.row][m.unit]; measured {
			at := cell{m.pair, m.kind}
			f.samples[at] = append(f.samples[at], v)
		}
	}
	return nil
}

var rateRow = regexp.MustCompile(`^BenchmarkRates/(\w+/\d+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// parseRates reads what the benchmark printed: the rows' names, and pairs of value and
// unit.
func parseRates(out string) map[string]rates {
	rows := map[string]rates{}
	for line := range strings.Lines(out) {
		row := rateRow.FindStringSubmatch(strings.TrimSpace(line))
		if row == nil {
			continue
		}
		r := rates{}
		for pair := range slices.Chunk(strings.Fields(row[2]), 2) {
			if v, err := strconv.ParseFloat(pair[0], 64); err == nil && len(pair) == 2 {
				r[pair[1]] = v
			}
		}
		rows[row[1]] = r
	}
	return rows
}

func reportRecords(t *testing.T, f *figures, full bool) {
	t.Helper()
	var rows []line
	for _, g := range recordGoals() {
		rows = append(rows, f.judge(g))
	}
	out := t.Output()
	if !full {
		fmt.Fprintln(out, "A smoke: these figures show that everything works, and nothing else.")
	}
	if err := printTable(out, "goal", rows); err != nil {
		t.Fatal(err)
	}
	if full {
		fmt.Fprintln(out, "As the README has it:")
		for _, c := range f.claims(recordGoals()) {
			fmt.Fprintln(out, c)
		}
	}
	for _, l := range rows {
		if strings.Contains(l.verdict, "missing") {
			t.Errorf("no figure for %q", l.name)
		}
	}
}

// TestParseRates: names and units as a benchmark prints them, on one processor or on
// more, and nothing of what else it says.
func TestParseRates(t *testing.T) {
	rows := parseRates("goos: linux\nBenchmarkRates/durable/64-2 \t  1234\t  812 ns/op\t 3.5 cpu-us\t 71000 1/s\n" +
		"BenchmarkRates/fdatasync/1  \t 10\t 9 p50-us\nBenchmarkOther/durable/1-2\t 1\t 2 p50-us\nPASS\n")
	if len(rows) != 2 || rows["durable/64"]["1/s"] != 71000 || rows["durable/64"]["cpu-us"] != 3.5 || rows["fdatasync/1"]["p50-us"] != 9 {
		t.Errorf("rows %v", rows)
	}
}
