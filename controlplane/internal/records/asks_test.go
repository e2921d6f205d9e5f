package records

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/sought"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// asking has records ask for one thing and another: every 40th for a rare model.
func asking(all []Joined) []Joined {
	all = slices.Clone(all)
	for i := range all {
		all[i].Record = proto.CloneOf(all[i].Record)
		op := all[i].Record.Operation
		op.DataClass = []string{"public", "internal", ""}[i%3]
		switch {
		case i%40 == 7:
			op.ModelRequested, op.ModelServed = "rare-1", "rare-1-2026"
		case i%4 == 0:
			op.ModelRequested, op.ModelServed = "common", "stand-in"
		case i%4 == 1:
			op.Protocol, op.Name, op.Tool = "mcp", "call_tool", fmt.Sprintf("tool-%d", i%10)
		case i%4 == 2:
			op.Protocol, op.Name = "http", "GET /healthz"
		}
	}
	return all
}

func asksOf() []sought.Ask {
	return []sought.Ask{
		{AI: true},
		{Model: "common"},
		{Model: "rare"},
		{Model: "stand"},
		{Model: "nobody's"},
		{Tool: "tool-3"},
		{Tool: "tool"},
		{DataClass: "internal"},
		{AI: true, Model: "common", DataClass: "public"},
	}
}

// TestAsks asks for what an AI service was asked for, of what is hot, cold, and both:
// whole, and in pages, which together have each record once, in order.
func TestAsks(t *testing.T) {
	const morePages = 60
	for name, upkeep := range map[string][]time.Duration{"hot": nil, "half cold": {-6 * time.Hour}, "cold": {2 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			want, have := newMemory(), openFor(t, t.TempDir(), Config{Hot: time.Hour})
			for batch := range slices.Chunk(asking(day(600/few)), 250) {
				put(t, want, batch...)
				putUpkept(t, have, upkeep, batch...)
			}
			for _, a := range asksOf() {
				whole := find(t, want, Query{Asks: a})
				sameRecords(t, Query{Asks: a}, whole, find(t, have, Query{Asks: a}))
				for _, limit := range []int{1, 3, 50} {
					if len(whole)/limit > morePages {
						continue // each page looks at all that is behind it
					}
					sameRecords(t, Query{Asks: a, Limit: limit}, whole, inPages(t, have, Query{Asks: a, Limit: limit}))
				}
			}
		})
	}
}

// inPages turns all pages, from the newest back.
func inPages(t *testing.T, s Store, q Query) (all []Joined) {
	t.Helper()
	for {
		page := find(t, s, q)
		if all = append(slices.Clone(page), all...); len(page) < q.Limit {
			return all
		}
		q.Before = PlaceOf(all[0])
	}
}

// TestAsksBeyondAPage: what is meant is found behind whole pages of what is not.
func TestAsksBeyondAPage(t *testing.T) {
	all := day(2*pageSize + 100)
	needle := proto.CloneOf(all[3].Record)
	needle.Operation.ModelRequested = "rare-1"
	all[3].Record = needle
	s := openIn(t, t.TempDir())
	put(t, s, all...)
	for _, q := range []Query{{}, {Limit: 1}, {Limit: 2}} {
		q.Asks.Model = "rare"
		sameRecords(t, q, all[3:4], find(t, s, q))
	}
	if n := len(find(t, s, Query{Asks: sought.Ask{Model: "rare"}, State: crossingv1.Record_OPEN})); n > 0 {
		t.Errorf("%d records of another state", n)
	}
}
