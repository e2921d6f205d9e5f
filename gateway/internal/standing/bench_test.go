package standing

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// BenchmarkEnterAndLeave is what each exchange pays at each gateway.
func BenchmarkEnterAndLeave(b *testing.B) {
	_, all := newCourt()
	shown := &credential{ends: time.Now().Add(time.Hour)}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, s := open(agent, shown)
		template := *c
		for pb.Next() {
			round := all.Round()
			*c = template
			c.Stream = s
			all.Enter(c, round)
			all.Leave(c)
		}
	})
}

// BenchmarkReviewOfTenThousand is what a change of the policy, or an act, costs with
// so many crossings open.
func BenchmarkReviewOfTenThousand(b *testing.B) {
	_, all := newCourt()
	for i := range 10_000 {
		id := spiffeid.RequireFromPath(agent.TrustDomain(), "/ai/agent-"+string(rune('a'+i%26)))
		c, _ := open(id, &credential{ends: time.Now().Add(time.Hour)})
		all.Enter(c, all.Round())
	}
	b.ReportAllocs()
	for b.Loop() {
		all.Review()
	}
}
