//go:build linux

package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

var (
	rounds = flag.Int("rounds", 5, "interleaved rounds of a full run of TestRatios")
	only   = flag.String("rows", "", "of TestRatios, the rows alone whose name this regular expression finds")
	ratios = flag.Bool("ratios", false, "make TestRatios a full run, as SALLYPORT_RATIOS=1 does")
)

// bench is what all measurements of a run share.
type bench struct {
	ctx    context.Context
	dir    string // of everything that is written
	bin    string // of the commands, built for this run
	certs  string // of the peers
	full   bool
	size   size
	here   *site
	abroad func() *meshtest.Mesh // laid out for the emulated path
}

// TestRatios prints the goals' table. A full run has several rounds, in each of
// which every pair is started anew, in an order of its own; any other is a
// smoke of one round that shows only that everything works.
//
// It fails on an error and on a row that is missing, never on a figure.
func TestRatios(t *testing.T) {
	meshtest.Long(t)
	b := newBench(t, wanted(t))
	n := 1
	if b.full {
		n = *rounds
	}
	f := &figures{samples: map[cell][]float64{}, missing: map[string]string{}}
	began := time.Now()
	for round := range n {
		b.round(t, f, round)
		t.Logf("round %d of %d done after %s", round+1, n, time.Since(began).Round(time.Second))
	}
	b.report(t, f)
}

// wanted says whether a full run is: it is asked for by name, or the test is
// run alone with an hour at hand.
func wanted(t *testing.T) bool {
	named := flag.Lookup("test.run").Value.String() == t.Name()
	deadline, bounded := t.Deadline()
	patient := !bounded || time.Until(deadline) > 50*time.Minute
	return *ratios || os.Getenv("SALLYPORT_RATIOS") == "1" || named && patient
}

func newBench(t *testing.T, full bool) *bench {
	t.Helper()
	b := &bench{ctx: t.Context(), dir: meshtest.Dir(t), full: full, size: glimpse}
	if full {
		b.size = whole
	}
	b.certs = filepath.Join(b.dir, "certs")
	if err := os.Mkdir(b.certs, 0o700); err != nil {
		t.Fatal(err)
	}
	mint(t, b.certs)
	var err error
	if b.bin, err = commands(); err != nil {
		t.Fatal(err)
	}
	b.here = &site{farHost: "127.0.0.1", backend: b.startBackend(t), mesh: startMesh(t, nil)}
	b.abroad = sync.OnceValue(func() *meshtest.Mesh { return startMesh(t, layAbroad(t)) })
	return b
}

// startBackend starts what is behind every pair: in a process of its own, since
// 10,000 connections at both ends are more than one may have.
func (b *bench) startBackend(t *testing.T) string {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	p, err := launch(nil, b.dir, filepath.Join(b.bin, "peer"), "-end", "backend", "-listen", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	if err := p.awaitWord(); err != nil {
		t.Fatal(err)
	}
	return address
}

// binDir is where this run of the tests builds the commands.
var binDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "spbench") })

func TestMain(m *testing.M) {
	m.Run()
	if dir, err := binDir(); err == nil {
		os.RemoveAll(dir)
	}
}

// commands are built once for all tests, and never with the race detector.
var commands = sync.OnceValues(func() (string, error) {
	dir, err := binDir()
	if err != nil {
		return "", err
	}
	builds := [][]string{
		{"build", "-o", dir + "/", "./gateway/cmd/sallyport-gateway", "./e2e/bench/peer"},
		{"test", "-c", "-o", dir + "/", "./gateway/internal/exchange"},
	}
	faults := make([]error, len(builds))
	var group sync.WaitGroup
	for i, argv := range builds {
		group.Go(func() {
			cmd := exec.Command("go", argv...)
			cmd.Dir = "../.."
			if out, err := cmd.CombinedOutput(); err != nil {
				faults[i] = fmt.Errorf("go %s: %w\n%s", strings.Join(argv, " "), err, out)
			}
		})
	}
	group.Wait()
	return dir, errors.Join(faults...)
})

// round measures every pair once, here and over the emulated path.
func (b *bench) round(t *testing.T, f *figures, number int) {
	t.Helper()
	order := rand.New(rand.NewPCG(uint64(number), 0))
	all := slices.Concat(ours, peers)
	order.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, sort := range []func(kind) bool{here, understood} {
		for _, p := range all {
			if some := b.needed(f, p.name, sort); len(some) > 0 {
				b.session(t, f, p, some, b.here)
			}
		}
	}
	paths := losses
	if !b.full {
		paths = losses[len(losses)-1:]
	}
	for _, loss := range paths {
		for _, p := range all {
			if some := b.needed(f, p.name, over(loss)); len(some) > 0 {
				b.sessionAbroad(t, f, p, some, loss, uint64(number))
			}
		}
	}
}

func here(k kind) bool { return !k.far && !k.http }

func understood(k kind) bool { return k.http }

func over(loss float64) func(kind) bool {
	return func(k kind) bool { return k.far && k.loss == loss }
}

// needed are the kinds of that sort which some row wants of a pair.
func (b *bench) needed(f *figures, pair string, sort func(kind) bool) []kind {
	if f.missing[pair] != "" {
		return nil
	}
	rows := slices.Concat(named(goals()), named(comparisons(b.full)))
	var some []kind
	for _, k := range kinds {
		if sort(k) && f.missing[k.name] == "" && slices.ContainsFunc(rows, func(g goal) bool {
			return g.kind == k.name && (g.ours == pair || g.peer == pair)
		}) {
			some = append(some, k)
		}
	}
	return some
}

// named are the rows that were asked for.
func named(all []goal) []goal {
	name := regexp.MustCompile(*only)
	return slices.DeleteFunc(all, func(g goal) bool { return !name.MatchString(g.label()) })
}

// session starts a pair, measures it and stops it.
func (b *bench) session(t *testing.T, f *figures, p pair, kinds []kind, at *site) {
	t.Helper()
	r, err := p.start(b, at)
	if errors.Is(err, errNeeds) {
		b.lack(t, f, p.name, err)
		return
	}
	if err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	defer r.stop()
	if err := r.awaitAnswer(b.ctx); err != nil {
		t.Fatalf("%s: %v\n%s", p.name, err, r.said())
	}
	began := time.Now()
	defer func() { t.Logf("%s measured in %s", p.name, time.Since(began).Round(time.Second/10)) }()
	for _, k := range kinds {
		v, err := k.measure(b.ctx, b, r)
		if err != nil {
			t.Fatalf("%s: %s: %v\n%s", p.name, k.name, err, r.said())
		}
		at := cell{p.name, k.name}
		f.samples[at] = append(f.samples[at], v)
	}
}

// optional pairs may be missing in a smoke, even where everything is said to be
// here.
var optional = []string{"caddy"}

// lack notes that a pair or a kind cannot be measured here. Where everything
// is said to be here, that is a failure.
func (b *bench) lack(t *testing.T, f *figures, what string, err error) {
	t.Helper()
	if b.full || os.Getenv("SALLYPORT_REQUIRE_ALL") != "" && !slices.Contains(optional, what) {
		t.Fatalf("%s: %v", what, err)
	}
	f.missing[what] = "skipped: " + err.Error()
}

// report prints the tables.
func (b *bench) report(t *testing.T, f *figures) {
	t.Helper()
	var rows, others []line
	for _, g := range named(goals()) {
		rows = append(rows, f.judge(g))
	}
	for _, g := range named(comparisons(b.full)) {
		others = append(others, f.judge(g))
	}
	out := t.Output()
	if !b.full {
		fmt.Fprintln(out, "A smoke: these figures show that everything works, and nothing else.")
	}
	if err := printTable(out, "goal", rows); err != nil {
		t.Fatal(err)
	}
	if err := printTable(out, "for comparison", others); err != nil {
		t.Fatal(err)
	}
	if b.full {
		fmt.Fprintln(out, "As the README has it:")
		for _, c := range f.claims(named(goals())) {
			fmt.Fprintln(out, c)
		}
	}
	for _, l := range slices.Concat(rows, others) {
		if strings.Contains(l.verdict, "missing") {
			t.Errorf("no figure for %q", l.name)
		}
	}
}

// caddy builds Caddy once, into the user's cache: it is large. A smoke takes it
// if it is there.
func (b *bench) caddy() (string, error) {
	const version = "v2.11.9"
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w a cache directory: %w", errNeeds, err)
	}
	dir := filepath.Join(cache, "sallyport-bench", "caddy-"+version)
	bin := filepath.Join(dir, "caddy")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	if !b.full {
		return "", fmt.Errorf("%w Caddy, which a full run builds", errNeeds)
	}
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "install", "github.com/caddyserver/caddy/v2/cmd/caddy@"+version)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w Caddy, which does not build: %w: %s", errNeeds, err, out)
	}
	return bin, nil
}
