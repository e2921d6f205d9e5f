package source

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// anyPolicy is small with other intents, and perhaps another workload and fewer
// transitions.
func anyPolicy(t *rapid.T, base *policyv1.Policy) *policyv1.Policy {
	p := proto.CloneOf(base)
	p.Intents = nil
	if rapid.Bool().Draw(t, "label") {
		p.Workloads["one"].Labels = map[string]string{"tier": "front"}
	}
	p.Workloads["lone"].Labels = map[string]string{"tier": "front"}
	if rapid.Bool().Draw(t, "another") {
		p.Workloads["another"] = &policyv1.Workload{Id: "spiffe://b.test/x", Owner: "ops", Serves: map[string]string{"get": "http://:80"}}
	}
	if rapid.Bool().Draw(t, "shut") {
		p.Transitions = nil
	}
	from := rapid.SampledFrom([]string{"", "*", "one", "many", "lone", "environment:a", "environment:b", "label:tier=front", "spiffe://a.test/ai/*", "spiffe://a.test/agent/*"})
	to := rapid.SampledFrom([]string{"", "llm", "vault", "environment:b", "spiffe://b.test/*"})
	for n := range rapid.IntRange(0, 4).Draw(t, "intents") {
		in := &policyv1.Intent{Name: fmt.Sprintf("i-%d", n)}
		m := &policyv1.Match{From: from.Draw(t, "from"), To: to.Draw(t, "to"), Methods: rapid.SampledFrom([][]string{nil, {"GET"}}).Draw(t, "methods")}
		if rapid.Bool().Draw(t, "deny") {
			in.Deny = m
		} else {
			in.Allow = m
		}
		p.Intents = append(p.Intents, in)
	}
	return p
}

// TestCallsThatChanged: what is told is what comparing all pairs would tell.
func TestCallsThatChanged(t *testing.T) {
	base, err := Load("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	base.Tests = nil
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		was, is := anyPolicy(t, base), anyPolicy(t, base)
		want := map[string]string{}
		before, after := reaches(t, was, now), reaches(t, is, now)
		for _, all := range []map[string]policy.Reach{before, after} {
			for name := range all {
				if before[name] != after[name] {
					want[name] = before[name].String() + " before, " + after[name].String() + " now"
				}
			}
		}
		got := map[string]string{}
		for _, c := range Diff(was, is) {
			if c.Object == "calls" {
				got[c.Name] = c.Before + " before, " + c.After + " now"
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("calls (-want +got):\n%s", diff)
		}
	})
}

// reaches are all calls of which some may cross, pair by pair.
func reaches(t *rapid.T, p *policyv1.Policy, now time.Time) map[string]policy.Reach {
	compiled, err := policy.Compile(p, policy.Ref{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]policy.Reach{}
	for _, to := range compiled.Workloads() {
		for _, from := range compiled.Workloads() {
			for i := range to.Services {
				if r := compiled.ReachOf(from, to, to.Services[i].Name, now); r != policy.Never {
					all[from.Name+" ─► "+to.Name+" "+to.Services[i].Name] = r
				}
			}
		}
	}
	return all
}

// wide is a policy with n callers in a hundred groups, each of which may call one
// of n callees.
func wide(t *testing.T, n int) *policyv1.Policy {
	t.Helper()
	p, err := Load("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		p.Workloads[fmt.Sprintf("from-%d", i)] = &policyv1.Workload{
			Id: fmt.Sprintf("spiffe://a.test/from/%d", i), Owner: "ops", Labels: map[string]string{"group": fmt.Sprint(i % 100)},
		}
		p.Workloads[fmt.Sprintf("to-%d", i)] = &policyv1.Workload{
			Id: fmt.Sprintf("spiffe://b.test/to/%d", i), Owner: "ops", Serves: map[string]string{"get": "http://:80"},
		}
	}
	for i := range 100 {
		p.Intents = append(p.Intents, &policyv1.Intent{
			Name: fmt.Sprintf("group-%d", i), Allow: &policyv1.Match{From: fmt.Sprintf("label:group=%d", i), To: fmt.Sprintf("to-%d", i)},
		})
	}
	return p
}

// TestDiffIsNearLinear: ten times the workloads take about ten times the work, and not
// a hundred times. Work is processor time, which others on the machine do not take
// away, and the least of several runs in turn, of which a busy cache spoils some.
func TestDiffIsNearLinear(t *testing.T) {
	few, many := diffing(t, 1_000), diffing(t, 10_000)
	leastFew, leastMany := time.Hour, time.Hour
	for range 5 {
		leastFew, leastMany = min(leastFew, few()), min(leastMany, many())
	}
	t.Logf("2,000 workloads: %s; 20,000: %s", leastFew, leastMany)
	if leastMany > 40*leastFew {
		t.Errorf("ten times the workloads take %.0f times the work", leastMany.Seconds()/leastFew.Seconds())
	}
}

// diffing compares two policies of 2n workloads, and says how much processor time
// that took.
func diffing(t *testing.T, n int) func() time.Duration {
	t.Helper()
	was := wide(t, n)
	is := proto.CloneOf(was)
	is.Intents = append(is.Intents, &policyv1.Intent{Name: "shut", Deny: &policyv1.Match{From: "environment:a", To: "to-7"}})
	return func() time.Duration {
		t.Helper()
		runtime.GC() // what was thrown away before is no work of this
		began := processorTime(t)
		changes := Diff(was, is)
		took := processorTime(t) - began
		if want := n/100 + 1; len(changes) != want {
			t.Fatalf("%d changes at %d workloads, want %d", len(changes), 2*n, want)
		}
		return took
	}
}

// processorTime is what this process has used of all processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestDiffOfTooMany: a change that touches all pairs is told as that.
func TestDiffOfTooMany(t *testing.T) {
	was := wide(t, 1_000)
	is := proto.CloneOf(was)
	is.Intents = append(is.Intents, &policyv1.Intent{Name: "open", Allow: &policyv1.Match{}})
	changes := Diff(was, is)
	last := changes[len(changes)-1]
	if len(changes) != 2 || last.Object != "calls" || !strings.Contains(last.Name, "too many to compare one by one") {
		t.Errorf("changes %v", changes)
	}
}
