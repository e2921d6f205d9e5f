package records

import (
	"crypto/sha256"
	"fmt"
	"iter"
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
// numbers. As in a true one, its two halves agree on what was carried, each by its own
// clock, and callers keep their connections for some hundred calls.
func crossingAt(rnd *rand.Rand, i int, at time.Time) Joined {
	from := rnd.IntN(len(environments))
	to := (from + 1 + rnd.IntN(len(environments)-1)) % len(environments)
	o, t := environments[from], environments[to]
	agent, model := rnd.IntN(200), rnd.IntN(50)
	request, response := uint64(rnd.IntN(20_000)), uint64(rnd.IntN(200_000)) //nolint:gosec // never negative
	whole, first := time.Duration(rnd.IntN(1_000_000_000)), time.Duration(rnd.IntN(300_000_000))
	at = at.Add(time.Duration(rnd.IntN(50_000_000)))
	end := func(gateway, peer string, port int, after, shorter time.Duration) *crossingv1.End {
		return &crossingv1.End{
			Gateway: gateway, Decision: crossingv1.Decision_ALLOW, Policy: &crossingv1.PolicyRef{Serial: 7, Revision: "sha256:7f3a"},
			Intent: "agents-ask-models", Open: timestamppb.New(at.Add(after)), Duration: durationpb.New(whole - shorter),
			Peer:      &crossingv1.Peer{Attach: crossingv1.Attach_MTLS, Svid: "sha256:" + digest(peer), Tls: "TLS1.3 X25519MLKEM768 AES128-GCM-SHA256", Address: fmt.Sprintf("10.0.%d.%d:%d", port%7, port%250, 1024+port)},
			FirstByte: durationpb.New(min(first, whole) - shorter/2), ContentSeen: true,
			RequestBytes: request, ResponseBytes: response, Status: 200, Close: crossingv1.Cause_DONE,
		}
	}
	j := Joined{Egress: gateway(o), Ingress: gateway(t), Record: &crossingv1.Record{
		Schema: "sallyport.crossing.v1", Id: fmt.Sprintf("%08x-%04x-7%03x-%04x-%012x", at.UnixMilli()>>16, at.UnixMilli()&0xffff, rnd.IntN(1<<12), 1<<15|rnd.IntN(1<<14), rnd.Int64N(1<<48)),
		State:      crossingv1.Record_JOINED,
		Transition: &crossingv1.Transition{From: o, To: t, Owner: fmt.Sprintf("team-%d", from%3)},
		Source:     fmt.Sprintf("spiffe://%s.example/agent/%d", o, agent), Destination: fmt.Sprintf("spiffe://%s.example/model/%d", t, model),
		Trace:     digest(fmt.Sprint("trace", i/4))[:32],
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "chat", Service: "model-" + string(rune('a'+model%8))},
		Egress:    end(gateway(o), fmt.Sprint(o, agent), agent*50+i/100_000, 0, 0),
		Ingress:   end(gateway(t), fmt.Sprint(t, model), model, time.Duration(1_000_000+rnd.IntN(300_000)), time.Duration(900_000+rnd.IntN(200_000))),
		Tunnel: &crossingv1.Tunnel{
			Carrier: "TCP", Tls: "TLS1.3 X25519MLKEM768 AES128-GCM-SHA256", Class: crossingv1.Tunnel_INTERACTIVE, Choice: crossingv1.Tunnel_USUAL,
			RoundTrip: durationpb.New(time.Duration(from*1_000_003 + i/2_000)), Clock: &crossingv1.Clock{Offset: durationpb.New(time.Duration(-to*77_001 - i/2_000)), Error: durationpb.New(500_000)},
		},
		Evidence: &crossingv1.Evidence{Pair: o + "-1 " + t + "-1", Run: "5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c", Sequence: uint64(i/20 + from*7_919 + to*104_729)}, //nolint:gosec // never negative
	}}
	vary(j.Record, rnd.IntN(100))
	return j
}

func digest(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

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
func day(n int) []Joined { return slices.Collect(throughDay(n)) }

func throughDay(n int) iter.Seq[Joined] {
	return func(yield func(Joined) bool) {
		rnd, step := rand.New(rand.NewPCG(1, 2)), 24*time.Hour/time.Duration(n) //nolint:gosec // the same each time
		for i := range n {
			if !yield(crossingAt(rnd, i, noon.Add(-24*time.Hour+time.Duration(i)*step))) {
				return
			}
		}
	}
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
