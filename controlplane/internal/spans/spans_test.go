package spans

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Spans hold what a set holds, in as few spans as there can be.
func TestSpansAreASet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const most = 40
		var s Set
		set := map[uint64]bool{}
		for range rapid.IntRange(0, 12).Draw(rt, "adds") {
			from := rapid.Uint64Range(0, most).Draw(rt, "from")
			to := rapid.Uint64Range(0, most).Draw(rt, "to")
			s.Add(Span{from, to})
			for n := from; n < to; n++ {
				set[n] = true
			}
		}
		for n := range uint64(most + 1) {
			if s.Has(n) != set[n] {
				rt.Fatalf("Has(%d) = %t of %v", n, s.Has(n), s)
			}
		}
		for i := 1; i < len(s); i++ {
			if s[i-1].To >= s[i].From {
				rt.Fatalf("%v are more spans than there need be", s)
			}
		}
		from, to := rapid.Uint64Range(0, most).Draw(rt, "gaps from"), rapid.Uint64Range(0, most).Draw(rt, "gaps to")
		gaps := s.Missing(from, to)
		for n := range uint64(most + 1) {
			in := slices.ContainsFunc(gaps, func(x Span) bool { return x.From <= n && n < x.To })
			if want := from <= n && n < to && !set[n]; in != want {
				rt.Fatalf("Missing(%d, %d) of %v = %v: %d is %t in it, want %t", from, to, s, gaps, n, in, want)
			}
		}
	})
}
