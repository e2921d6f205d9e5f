//go:build linux

package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// storeRecords is how many TestStoreGoals keeps. The go command has a flag -n of its
// own, so ours comes after -args.
var storeRecords = flag.Int("n", 4_000, "records of TestStoreGoals: go test ./e2e/bench -run TestStoreGoals -v -args -n 1000000")

// storeWhole is how many records the goals are of.
const storeWhole = 1_000_000

// storeGoals are the rows of the store, of proofs and of packs. Times are medians.
func storeGoals() []goal {
	return []goal{
		{ours: "store", kind: "ingest, records/s of CPU", least: true, limit: 20_000},
		{ours: "store", kind: "trace by id, p50 ms", limit: 1},
		{ours: "store", kind: "pair-hour, p50 ms", limit: 10},
		{ours: "store", kind: "24 h matrix, p50 ms", limit: 50},
		{ours: "store", kind: "archive, bytes/crossing", limit: 60},
		{ours: "store", kind: "proof of one crossing, bytes", limit: 2000},
		{ours: "store", kind: "checking a proof, p50 ms", limit: 0.5},
		{ours: "store", kind: "offline verify, s", limit: 30},
	}
}

// TestStoreGoals prints what the store of joined records takes, a proof, and a check of all
// that there is. It fails on an error and on a row that is missing, never on a figure. The
// packages under test have tests of their own that measure, built and run here.
func TestStoreGoals(t *testing.T) {
	meshtest.Long(t)
	f := &figures{samples: map[cell][]float64{}, missing: map[string]string{}}
	extra, err := storeRound(t.Context(), f, *storeRecords)
	if err != nil {
		t.Fatal(err)
	}
	out := t.Output()
	if *storeRecords < storeWhole {
		fmt.Fprintf(out, "A smoke of %d records: the goals are of %d.\n", *storeRecords, storeWhole)
	}
	reportGoals(t, f, storeGoals(), extra)
}

// reportGoals prints rows, and what else was measured.
func reportGoals(t *testing.T, f *figures, goals []goal, extra []string) {
	t.Helper()
	out := t.Output()
	var rows []line
	for _, g := range goals {
		rows = append(rows, f.judge(g))
	}
	if err := printTable(out, "goal", rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range extra {
		fmt.Fprintln(out, row)
	}
	for _, l := range rows {
		if strings.Contains(l.verdict, "missing") {
			t.Errorf("no figure for %q", l.name)
		}
	}
}

// storeRound measures once, and gives what else was measured.
func storeRound(ctx context.Context, f *figures, n int) (extra []string, err error) {
	for _, m := range []struct {
		dir  string
		args []string
	}{
		{"controlplane/internal/records", []string{"-test.run=^TestStoreGoals$", "-n", strconv.Itoa(n)}},
		{"controlplane/cmd/sallyport-verify/proof", []string{"-test.run=^TestGoals$", "-n", "1000"}},
		{"controlplane/cmd/sallyport-verify/pack", []string{"-test.run=^TestGoals$", "-goals", strconv.Itoa(n)}},
	} {
		more, err := measured(ctx, f, storeGoals(), m.dir, m.args)
		if err != nil {
			return nil, err
		}
		extra = append(extra, more...)
	}
	return extra, nil
}

// measured has the test of a package measure, which is built and run.
func measured(ctx context.Context, f *figures, goals []goal, dir string, args []string) (extra []string, err error) {
	bin, err := buildTest(ctx, dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, bin, append(args, "-test.v")...)
	cmd.Dir = os.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w\n%s", dir, err, out)
	}
	return takeFigures(f, goals, string(out)), nil
}

// buildTest builds the test of a package, by its directory from the root, and gives where
// it is.
func buildTest(ctx context.Context, dir string) (string, error) {
	to, err := binDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(to, filepath.Base(dir)+".test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", bin, "./"+dir)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the test of %s: %w\n%s", dir, err, out)
	}
	return bin, nil
}

// takeFigures reads the lines that say whose figure it is, a name, a unit and a value, and
// gives those that no goal is of. Ours say "goal", others the peer's name.
func takeFigures(f *figures, goals []goal, out string) (extra []string) {
	wanted, whose := map[cell]bool{}, map[string]string{}
	for _, g := range goals {
		whose["goal"] = g.ours
		wanted[cell{g.ours, g.kind}] = true
		if g.peer != "" {
			whose[g.peer] = g.peer
			wanted[cell{g.peer, g.kind}] = true
		}
	}
	for text := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSpace(text), "\t")
		if len(fields) != 4 {
			continue
		}
		pair, ok := whose[fields[0][strings.LastIndex(fields[0], " ")+1:]]
		v, err := strconv.ParseFloat(fields[3], 64)
		if !ok || err != nil {
			continue
		}
		at := cell{pair, fields[1] + ", " + fields[2]}
		if !wanted[at] {
			extra = append(extra, fmt.Sprintf("%s: %.3g", at.kind, v))
			continue
		}
		f.samples[at] = append(f.samples[at], v)
	}
	return extra
}

// TestTakeFigures: names and units as the store's test logs them, and nothing of what
// else it says.
func TestTakeFigures(t *testing.T) {
	f := &figures{samples: map[cell][]float64{}}
	goals := []goal{{ours: "store", kind: "archive, bytes/crossing"}, {ours: "store", kind: "ingest, us", peer: "a/peer"}}
	extra := takeFigures(f, goals, "=== RUN   TestStoreGoals\n    goals_test.go:26: goal\tarchive\tbytes/crossing\t58.5\n"+
		"    goals_test.go:28: a/peer\tingest\tus\t7\n    goals_test.go:29: b/peer\tingest\tus\t8\n"+
		"    goals_test.go:27: goal\thot store\tbytes/crossing\t1800\n    goals_test.go:28: goal\tarchive\tbytes/crossing\tmany\n    x.go:1: goal\nPASS\n")
	if got := f.samples[cell{"store", "archive, bytes/crossing"}]; len(got) != 1 || got[0] != 58.5 || len(f.samples) != 2 {
		t.Errorf("samples %v", f.samples)
	}
	if got := f.samples[cell{"a/peer", "ingest, us"}]; len(got) != 1 || got[0] != 7 {
		t.Errorf("a peer's samples %v", got)
	}
	if len(extra) != 1 || extra[0] != "hot store, bytes/crossing: 1.8e+03" {
		t.Errorf("extra %q", extra)
	}
}
