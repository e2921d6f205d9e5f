package statements

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Spans hold what a set holds, in as few spans as there can be.
func TestSpansAreASet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const most = 40
		var s spans
		set := map[uint64]bool{}
		for range rapid.IntRange(0, 12).Draw(rt, "adds") {
			from := rapid.Uint64Range(0, most).Draw(rt, "from")
			to := rapid.Uint64Range(0, most).Draw(rt, "to")
			s.add(span{from, to})
			for n := from; n < to; n++ {
				set[n] = true
			}
		}
		for n := range uint64(most + 1) {
			if s.has(n) != set[n] {
				rt.Fatalf("has(%d) = %t of %v", n, s.has(n), s)
			}
		}
		for i := 1; i < len(s); i++ {
			if s[i-1].to >= s[i].from {
				rt.Fatalf("%v are more spans than there need be", s)
			}
		}
		from, to := rapid.Uint64Range(0, most).Draw(rt, "gaps from"), rapid.Uint64Range(0, most).Draw(rt, "gaps to")
		gaps := s.missing(from, to)
		for n := range uint64(most + 1) {
			in := slices.ContainsFunc(gaps, func(x span) bool { return x.from <= n && n < x.to })
			if want := from <= n && n < to && !set[n]; in != want {
				rt.Fatalf("missing(%d, %d) of %v = %v: %d is %t in it, want %t", from, to, s, gaps, n, in, want)
			}
		}
	})
}
