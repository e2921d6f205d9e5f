package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	away = flag.Duration("away", 5*time.Second, "how long TestDoubleEntry leaves its mesh without a control plane")
	seed = flag.Uint64("seed", 0, "of the gateways that TestDoubleEntry kills; one of its own if 0")
)

// TestDoubleEntry kills gateways at random, one or more at once, under a load of every
// kind between three environments, while the control plane is killed and stays away:
// each crossing that a client had an answer for has one record, and nothing is recorded
// that nobody sent. All are processes of their own. Long, by
//
//	go test ./e2e -run TestDoubleEntry -away 10m -timeout 30m -v
func TestDoubleEntry(t *testing.T) {
	meshtest.Long(t)
	m, plane, k := startProcesses(t, nil)
	c := startCallers(t, m, everyKind, shortRest)
	killing, enough := context.WithCancel(m.Context)
	defer enough()
	ended := make(chan error, 1)
	go func() { ended <- k.run(killing) }()

	<-time.After(*away / 4)
	plane.kill()
	<-time.After(*away)
	if err := plane.launchReady(m.Dir()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	<-time.After(*away / 4)
	enough()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	all := c.stop()
	t.Logf("seed %d: %d calls; without a control plane for %s; killed %s", k.seed, len(all), *away, k)
	records := awaitLedger(t, m, &ledger{attempts: all, kills: k.done})
	t.Logf("each answer has its record %s after the control plane came back: %s", time.Since(back).Round(time.Second/10), count(t, all, records))
	awaitStated(t, m, back, 1)
	awaitExplained(t, m, records)
	listed(t, m, records)
	// Callers' gateways first: whom they call answers their last claims.
	for _, name := range []string{"onprem-1", "azure-1", "aws-1"} {
		k.gateways[name].stop()
	}
	awaitStated(t, m, back, 0)
	awaitExplained(t, m, records)
	t.Logf("all is stated to the end %s after the control plane came back", time.Since(back).Round(time.Second/10))
	rejectedNothing(t, m)
	provenButDifferences(t, m)
}

// provenButDifferences holds that all that the logs and the archive have is proven, but for
// what both gateways have signed that they differ in: kill -9 takes what was on its way.
func provenButDifferences(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	out, err := exec.Command(meshtest.Binary(t, "sallyport"), "--dir", m.Dir(), "log", "verify", "--to", "0s", "-o", "json").Output()
	var report struct {
		Pack struct {
			Crossings int
			Findings  []struct{ Weight, Kind, Why string }
		}
	}
	if jsonErr := json.Unmarshal(out, &report); jsonErr != nil || report.Pack.Crossings == 0 {
		t.Fatalf("log verify: %v, %v\n%s", err, jsonErr, out)
	}
	for _, f := range report.Pack.Findings {
		if f.Weight != "note" && f.Kind != "difference" {
			t.Errorf("log verify: %s: %s", f.Kind, f.Why)
		}
	}
}

// startProcesses starts a mesh whose gateways and control plane are processes. Change,
// if not nil, changes what gateways start from.
func startProcesses(t *testing.T, change func(*configv1.Bootstrap)) (*meshtest.Mesh, *process, *killer) {
	t.Helper()
	plane := &process{t: t, argv: []string{meshtest.Binary(t, "sallyport-controlplane"), "run", "--config", ""}}
	t.Cleanup(plane.kill)
	names := gatewayNames()
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy, cfg.External, cfg.Bootstrap = policyWith(t, connectIntent), names, change
		cfg.ControlPlane = func(file string) error {
			plane.argv[3] = file
			return plane.launchReady(cfg.Dir)
		}
	})
	k := newKiller(*seed)
	for _, name := range names {
		p := gatewayProcess(t, m.Bootstrap(name))
		if err := p.launchReady(m.Dir()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		k.gateways[name] = p
	}
	for _, name := range names {
		awaitGateway(t, m, name)
	}
	return m, plane, k
}

// kill is a time without a gateway.
type kill struct {
	gateway  string
	at, back time.Time
}

const (
	// settling is how long a gateway's peers may take to know that it is another one now.
	settling = 5 * time.Second
	// noting is how long a gateway may take to note that the answer has ended whose last
	// byte the caller has.
	noting = time.Second
)

// over says that it was in the time of an attempt.
func (k kill) over(a *attempt) bool {
	return a.ended.Add(noting).After(k.at) && a.began.Before(k.back.Add(settling))
}

// killer kills gateways and starts them again, as its seed says.
type killer struct {
	gateways map[string]*process
	seed     uint64
	random   *rand.Rand
	deck     [][]string // of those that are killed together, what is left of the deal
	done     []kill
}

func newKiller(seed uint64) *killer {
	if seed == 0 {
		seed = rand.Uint64()
	}
	return &killer{gateways: map[string]*process{}, seed: seed, random: rand.New(rand.NewPCG(seed, 0))}
}

// run kills until the context ends, and leaves all gateways running.
func (k *killer) run(ctx context.Context) error {
	least := min(*away/10, 2*time.Second)
	for {
		pause := time.NewTimer(least + k.upTo(3*least))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
		if err := k.strike(k.upTo(least)); err != nil {
			return err
		}
	}
}

// strike kills the gateways whose turn it is, at once, and starts them again later.
func (k *killer) strike(pause time.Duration) error {
	at, victims := time.Now(), k.next()
	var group sync.WaitGroup
	for _, name := range victims {
		group.Go(k.gateways[name].kill)
	}
	group.Wait()
	<-time.After(pause)
	for _, name := range victims {
		if err := k.gateways[name].launch(); err != nil {
			return err
		}
		k.done = append(k.done, kill{name, at, time.Now()})
	}
	return nil
}

func (k *killer) upTo(d time.Duration) time.Duration { return time.Duration(k.random.Int64N(int64(d))) }

// next deals each of all sets of gateways once before any comes again.
func (k *killer) next() []string {
	if len(k.deck) == 0 {
		names := slices.Sorted(maps.Keys(k.gateways))
		for set := 1; set < 1<<len(names); set++ {
			var some []string
			for i, name := range names {
				if set&(1<<i) != 0 {
					some = append(some, name)
				}
			}
			k.deck = append(k.deck, some)
		}
		k.random.Shuffle(len(k.deck), func(i, j int) { k.deck[i], k.deck[j] = k.deck[j], k.deck[i] })
	}
	victims := k.deck[0]
	k.deck = k.deck[1:]
	return victims
}

func (k *killer) String() string {
	times, together := map[string]int{}, map[time.Time]int{}
	for _, one := range k.done {
		times[one.gateway]++
		together[one.at]++
	}
	several := 0
	for _, n := range together {
		if n > 1 {
			several++
		}
	}
	return fmt.Sprintf("%v in %d strikes, %d of them at several at once", times, len(together), several)
}

// awaitLedger waits until the control plane's records are what the clients know.
func awaitLedger(t *testing.T, m *meshtest.Mesh, l *ledger) []*crossingv1.Record {
	t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ; <-ticker.C {
		records := m.Crossings(t, &controlv1.ListCrossingsRequest{})
		faults := l.faults(records)
		if len(faults) == 0 {
			return records
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d faults in %d records of %d calls:\n%s", len(faults), len(records), len(l.attempts),
				strings.Join(faults[:min(len(faults), 10)], "\n"))
		}
	}
}

// count counts calls by kind, of which there must be whole ones, and records by what
// they say.
func count(t *testing.T, all []*attempt, records []*crossingv1.Record) string {
	t.Helper()
	whole, broken, by, stopped := map[string]int{}, map[string]int{}, map[string]int{}, 0
	for _, a := range all {
		if a.whole {
			whole[a.kind]++
		} else if a.id != "" {
			broken[a.kind]++
		}
	}
	for _, kind := range everyKind {
		if whole[kind.name] < kind.callers {
			t.Errorf("no call by %s succeeds", kind.name)
		}
	}
	for _, r := range records {
		by[r.GetState().String()]++
		if stoppedIn(r) {
			stopped++
		}
	}
	return fmt.Sprintf("whole %v, refused or broken off %v; records %v, %d of them GATEWAY_STOPPED", whole, broken, by, stopped)
}

func stoppedIn(r *crossingv1.Record) bool {
	return r.GetEgress().GetClose() == crossingv1.Cause_GATEWAY_STOPPED || r.GetIngress().GetClose() == crossingv1.Cause_GATEWAY_STOPPED
}
