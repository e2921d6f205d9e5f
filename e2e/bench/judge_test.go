//go:build linux

package bench

import (
	"strings"
	"testing"
)

// TestJudge holds what a row says of figures: ratios are of medians, and a row
// without figures is never taken for a result.
func TestJudge(t *testing.T) {
	f := &figures{
		samples: map[cell][]float64{
			{"sallyport", keep}:         {30, 10, 20},
			{"sallyport-durable", keep}: {50},
			{"haproxy-tcp", keep}:       {40, 900, 39},
			{"bare-tls", keep}:          {0},
			{"sallyport", bulk16}:       {9},
			{"plain-tcp", bulk16}:       {10},
		},
		missing: map[string]string{"nginx-stream": "skipped: needs nginx"},
	}
	for _, c := range []struct {
		name string
		goal goal
		want []string // name, ours, peer, ratio, goal, verdict
	}{
		{"met", goal{ours: "sallyport", kind: keep, peer: "haproxy-tcp", limit: 0.5}, []string{keep, "10.0/20.0/30.0", "39.0/40.0/900", "0.50", "<= 0.5x haproxy-tcp", "met"}},
		{"durable, not met", goal{ours: "sallyport-durable", kind: keep, peer: "haproxy-tcp", limit: 0.5}, []string{keep + ", durable", "50.0/50.0/50.0", "39.0/40.0/900", "1.25", "<= 0.5x haproxy-tcp", "not met"}},
		{"at least", goal{ours: "sallyport", kind: bulk16, peer: "plain-tcp", least: true, limit: 0.9}, []string{bulk16, "9.00/9.00/9.00", "10.0/10.0/10.0", "0.90", ">= 0.9x plain-tcp", "met"}},
		{"a bound", goal{ours: "sallyport", kind: keep, limit: 16}, []string{keep, "10.0/20.0/30.0", "-", "-", "<= 16", "not met"}},
		{"by nothing", goal{ours: "sallyport", kind: keep, peer: "bare-tls", limit: 1}, []string{keep, "10.0/20.0/30.0", "0.00/0.00/0.00", "+Inf", "<= 1x bare-tls", "not met"}},
		{"no goal", goal{ours: "sallyport", kind: keep, peer: "haproxy-tcp"}, []string{keep, "10.0/20.0/30.0", "39.0/40.0/900", "0.50", "none", "against haproxy-tcp"}},
		{"no goal and no peer", goal{ours: "sallyport", kind: keep}, []string{keep, "10.0/20.0/30.0", "-", "-", "none", "for orientation"}},
		{"skipped", goal{ours: "sallyport", kind: keep, peer: "nginx-stream", limit: 1}, []string{keep, "-", "-", "-", "<= 1x nginx-stream", "skipped: needs nginx"}},
		{"missing", goal{ours: "sallyport", kind: conn, limit: 1}, []string{conn, "-", "-", "-", "<= 1", "missing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := f.judge(c.goal)
			got := []string{l.name, l.ours, l.peer, l.ratio, l.goal, l.verdict}
			if strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("judge = %q, want %q", got, c.want)
			}
		})
	}
}

// TestGoalsAreMeasured: each row's figure has somebody who measures it, and
// each row of traffic stands there durably too.
func TestGoalsAreMeasured(t *testing.T) {
	kindOf, pairOf := map[string]bool{}, map[string]bool{}
	for _, k := range kinds {
		kindOf[k.name] = true
	}
	for _, p := range append(ours, peers...) {
		pairOf[p.name] = true
	}
	durable := 0
	for _, g := range append(goals(), comparisons(true)...) {
		if !kindOf[g.kind] || !pairOf[g.ours] || g.peer != "" && !pairOf[g.peer] {
			t.Errorf("%+v names what nobody measures", g)
		}
		if g.ours == "sallyport-durable" {
			durable++
		}
	}
	if durable != len(traffic) {
		t.Errorf("%d durable rows for %d rows of traffic", durable, len(traffic))
	}
}
