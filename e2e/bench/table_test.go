//go:build linux

package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// cell is where a figure belongs: a pair and what was measured of it.
type cell struct{ pair, kind string }

// figures are what all rounds gave.
type figures struct {
	samples map[cell][]float64
	missing map[string]string // pair or kind to why it could not be measured
}

// spread is a cell's figures in order.
func (f *figures) spread(pair, kind string) []float64 {
	s := slices.Clone(f.samples[cell{pair, kind}])
	slices.Sort(s)
	return s
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

// line is a row as it is printed.
type line struct {
	name, ours, peer, ratio, goal string
	verdict                       string // "met", "not met", or why there is none
}

// judge makes a row of a goal.
func (f *figures) judge(g goal) line {
	l := line{name: g.label(), ours: "-", peer: "-", ratio: "-", goal: "none"}
	if g.limit > 0 {
		l.goal = g.bound()
	}
	for _, name := range []string{g.ours, g.peer, g.kind} {
		if why := f.missing[name]; why != "" {
			l.verdict = why
			return l
		}
	}
	mine := f.spread(g.ours, g.kind)
	if len(mine) == 0 {
		l.verdict = "missing"
		return l
	}
	l.ours = describe(mine)
	value := median(mine)
	if g.peer != "" {
		theirs := f.spread(g.peer, g.kind)
		if len(theirs) == 0 {
			l.verdict = "missing"
			return l
		}
		l.peer = describe(theirs)
		value /= median(theirs)
		l.ratio = fmt.Sprintf("%.2f", value)
		if value < 0.1 {
			l.ratio = fmt.Sprintf("%.3g", value)
		}
	}
	l.verdict = g.verdict(value)
	return l
}

func (g goal) bound() string {
	sign, of := "<=", ""
	if g.least {
		sign = ">="
	}
	if g.peer != "" {
		of = "x " + g.peer
	}
	return strings.TrimSpace(fmt.Sprintf("%s %g%s", sign, g.limit, of))
}

func (g goal) verdict(value float64) string {
	switch {
	case g.limit == 0 && g.peer == "":
		return "for orientation"
	case g.limit == 0:
		return "against " + g.peer
	case math.IsNaN(value), !g.least && value > g.limit, g.least && value < g.limit:
		return "not met"
	}
	return "met"
}

// describe is min/median/max.
func describe(sorted []float64) string {
	return fmt.Sprintf("%s/%s/%s", short(sorted[0]), short(median(sorted)), short(sorted[len(sorted)-1]))
}

// short has three digits that mean something.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// printTable writes the rows under a head, in columns.
func printTable(out io.Writer, head string, lines []line) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tours min/median/max\tpeer min/median/max\tratio\tgoal\t\n", head)
	for _, l := range lines {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.name, l.ours, l.peer, l.ratio, l.goal, l.verdict)
	}
	return w.Flush()
}
