package records

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

var environments = []string{"aws", "azure", "gcp", "onprem", "edge"}

func gateway(env string) string {
	return "spiffe://" + env + ".example/sallyport/gateway/" + env + "-1"
}

// crossingAt is the i-th crossing of a made-up day: the same for the same i and random
// numbers.
func crossingAt(rnd *rand.Rand, i int, at time.Time) Joined {
	from := rnd.IntN(len(environments))
	to := (from + 1 + rnd.IntN(len(environments)-1)) % len(environments)
	o, t := environments[from], environments[to]
	end := func(gateway string, after time.Duration) *crossingv1.End {
		return &crossingv1.End{
			Gateway: gateway, Decision: crossingv1.Decision_ALLOW, Policy: &crossingv1.PolicyRef{Serial: 7, Revision: "sha256:7f3a"},
			Intent: "agents-ask-models", Open: timestamppb.New(at.Add(after)), Duration: durationpb.New(time.Duration(rnd.IntN(1_000_000_000))),
			RequestBytes: uint64(rnd.IntN(20_000)), ResponseBytes: uint64(rnd.IntN(200_000)), Status: 200, Close: crossingv1.Cause_DONE,
		}
	}
	j := Joined{Egress: gateway(o), Ingress: gateway(t), Record: &crossingv1.Record{
		Schema: "sallyport.crossing.v1", Id: fmt.Sprintf("%08x-%04x-7%03x-8000-%012x", at.UnixMilli()>>16, at.UnixMilli()&0xffff, rnd.IntN(4096), i),
		State:      crossingv1.Record_JOINED,
		Transition: &crossingv1.Transition{From: o, To: t, Owner: fmt.Sprintf("team-%d", from%3)},
		Source:     fmt.Sprintf("spiffe://%s.example/agent/%d", o, rnd.IntN(200)), Destination: fmt.Sprintf("spiffe://%s.example/model/%d", t, rnd.IntN(50)),
		Trace:     fmt.Sprintf("%032x", i/4+1),
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "chat", Service: "model-" + string(rune('a'+rnd.IntN(8)))},
		Egress:    end(gateway(o), 0), Ingress: end(gateway(t), time.Millisecond),
		Evidence: &crossingv1.Evidence{Pair: o + "-1 " + t + "-1", Run: "5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c", Sequence: uint64(i)},
	}}
	vary(j.Record, rnd.IntN(100))
	return j
}

// vary makes some records other than joined.
func vary(r *crossingv1.Record, percent int) {
	switch {
	case percent < 2:
		r.State, r.Ingress = crossingv1.Record_ONE_SIDED, nil
	case percent < 3:
		r.State, r.Egress = crossingv1.Record_ONE_SIDED, nil
	case percent < 5:
		r.State, r.Differences = crossingv1.Record_DISAGREE, []string{"status"}
	case percent < 10:
		r.Ingress.Decision, r.Ingress.Reason = crossingv1.Decision_DENY, crossingv1.Reason_DENIED_BY_INTENT
	}
}

// day is n crossings of a day that ends at noon.
func day(n int) []Joined {
	rnd := rand.New(rand.NewPCG(1, 2))
	all := make([]Joined, n)
	for i := range all {
		all[i] = crossingAt(rnd, i, noon.Add(-24*time.Hour+time.Duration(i)*24*time.Hour/time.Duration(n)))
	}
	return all
}

func put(t testing.TB, s Store, all ...Joined) {
	t.Helper()
	if err := s.Put(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

func find(t testing.TB, s Store, q Query) []Joined {
	t.Helper()
	var all []Joined
	for j, err := range s.Find(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, j)
	}
	return all
}

// joined are n crossings of which both halves are there, and agree.
func joined(n int) []Joined {
	all := day(2*n + 20)
	return slices.DeleteFunc(all, func(j Joined) bool { return j.Record.GetState() != crossingv1.Record_JOINED })[:n]
}
