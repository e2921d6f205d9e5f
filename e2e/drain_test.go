package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// drainTime is what the gateways of these tests give to what is open.
	drainTime = 8 * time.Second
	// stopTime is what a gateway may take beyond it to end.
	stopTime = 20 * time.Second
)

// TestDrain restarts both gateways of a pair again and again, publishes policies, and
// rotates SVIDs, under a load of HTTP/1.1, HTTP/2, gRPC and server-sent events: no call
// fails, no stream is cut before its time, and each has one record with both halves. The clients are net/http's and grpc-go's own, as they
// are: they do again by themselves what was never sent or is known not to have
// been taken, and nothing else.
func TestDrain(t *testing.T) {
	m, units := externalPair(t) // before the other mesh, for each looks for free ports
	t.Run("rotation", func(t *testing.T) { t.Parallel(); rotateLeaf(t) })
	t.Run("restart and push", func(t *testing.T) { t.Parallel(); restartAndPush(t, m, units) })
}

func restartAndPush(t *testing.T, m *meshtest.Mesh, units []*gatewayUnit) {
	t.Helper()
	l := startLoad(t, m, 3*time.Second)
	restart := l.phase("restart")
	restart.await(t, 300)
	units[0].reloadInVain(t)
	var watched []*unending
	for range 3 {
		for _, u := range units {
			e := l.endless(t)
			u.reload(t)
			e.since = time.Now()
			watched = append(watched, e)
			restart.await(t, 200)
		}
	}
	push := l.phase("push")
	text := m.PolicyText(t)
	for n := range 12 {
		changed := meshtest.Edit(t, text, "oncall.demo/agents", fmt.Sprintf("oncall.demo/agents-%d", n))
		if _, err := m.Apply(m.Context, []byte(changed)); err != nil {
			t.Fatal(err)
		}
		if n == 5 {
			for _, u := range units {
				u.reload(t) // beside the pushes
			}
		}
		push.await(t, 120)
	}
	l.stop(t)
	restart.judge(t, 1500)
	push.judge(t, 1000)
	for _, e := range watched {
		e.judge(t)
	}
	l.awaitRecords(t, m)
	for _, u := range units {
		u.awaitAlone(t)
		if c := countsOf(t, u.admin); c.differences() > 0 || c["silent_pairs"] > 0 {
			t.Errorf("%s: %v", u.name, c.ofEpochs())
		}
	}
}

// externalPair is a mesh whose gateways of onprem and azure are processes.
func externalPair(t *testing.T) (*meshtest.Mesh, []*gatewayUnit) {
	t.Helper()
	names := []string{"onprem-1", "azure-1"}
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.External = names })
	units := make([]*gatewayUnit, len(names))
	for i, name := range names {
		units[i] = startUnit(t, m, name)
	}
	return m, units
}

// awaitRecords waits until every call that had an answer has its record, which
// both gateways agree on.
func (l *load) awaitRecords(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ; <-ticker.C {
		records, twice := map[string]*crossingv1.Record{}, []string{}
		for _, r := range m.Crossings(t, &controlv1.ListCrossingsRequest{}) {
			if records[r.GetId()] != nil {
				twice = append(twice, r.GetId())
			}
			records[r.GetId()] = r
		}
		missing := l.unrecorded(records)
		if len(missing) == 0 && len(twice) == 0 {
			t.Logf("%d answers, each with one record of both gateways", len(l.answered()))
			return
		}
		if time.Now().After(deadline) {
			ids := slices.Concat(missing, twice)
			t.Fatalf("of %d answers %d have no whole record and %d have two, such as %s: %v",
				len(l.answered()), len(missing), len(twice), ids[0], records[ids[0]])
		}
	}
}

func (l *load) unrecorded(records map[string]*crossingv1.Record) []string {
	var missing []string
	for _, id := range l.answered() {
		r := records[id]
		if r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() || r.GetEgress() == nil || r.GetIngress() == nil {
			missing = append(missing, id)
		}
	}
	return missing
}

// tally counts the calls that began in one phase.
type tally struct {
	l      *load
	name   string
	done   int
	kinds  map[string]int
	failed []failure
}

// failure is a call that failed.
type failure struct {
	at       time.Time
	kind, id string
	err      error
}

func (f failure) String() string {
	return fmt.Sprintf("%s %s: %v", f.at.Format("15:04:05.000"), f.kind, f.err)
}

// record is what the gateways say of it, as far as they do by now.
func (f failure) record(t *testing.T, m *meshtest.Mesh) []*crossingv1.Record {
	t.Helper()
	if f.id == "" {
		return nil
	}
	return m.Crossings(t, &controlv1.ListCrossingsRequest{Id: f.id})
}

// await waits for n more calls of each kind, or for any failure.
func (y *tally) await(t *testing.T, n int) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	want := y.count() + n
	for deadline := time.Now().Add(meshtest.Patience); y.count() < want; <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d calls, want %d: %s", y.name, y.count(), want, y.faults())
		}
	}
}

func (y *tally) count() int {
	y.l.mu.Lock()
	defer y.l.mu.Unlock()
	return y.done + len(y.failed)
}

func (y *tally) faults() string {
	y.l.mu.Lock()
	defer y.l.mu.Unlock()
	return fmt.Sprint(y.failed[:min(len(y.failed), 8)])
}

// judge holds that nothing failed, of at least so many calls and of every kind.
func (y *tally) judge(t *testing.T, least int) {
	t.Helper()
	y.l.mu.Lock()
	defer y.l.mu.Unlock()
	n := y.done + len(y.failed)
	t.Logf("%s: failed %d of %d %v", y.name, len(y.failed), n, y.kinds)
	for _, f := range y.failed[:min(len(y.failed), 20)] {
		t.Errorf("%s: %v; its record: %v", y.name, f, f.record(t, y.l.m))
	}
	if n < least {
		t.Errorf("%s: %d calls, want %d for the figure to say something", y.name, n, least)
	}
	for _, kind := range kinds {
		if y.kinds[kind.name] == 0 {
			t.Errorf("%s: no %s call: only %v", y.name, kind.name, slices.Sorted(maps.Keys(y.kinds)))
		}
	}
}
