//go:build linux

package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// claim is a goal's row as the README has it: the figures of the pair that
// records asynchronously and, for traffic, of the one that records durably.
type claim struct {
	what, against string
	figures       []string
	goal, verdict string
}

func (c claim) String() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", c.what, c.against, strings.Join(c.figures, ", durable "), c.goal, c.verdict)
}

// claims are what a run lets the README say.
func (f *figures) claims(rows []goal) []claim {
	var all []claim
	for _, g := range rows {
		l := f.judge(g)
		figure := l.ratio
		if g.peer == "" {
			figure = l.ours[strings.Index(l.ours, "/")+1 : strings.LastIndex(l.ours, "/")]
		}
		if last := len(all) - 1; g.ours == "sallyport-durable" {
			all[last].figures = append(all[last].figures, figure)
			continue
		}
		all = append(all, g.claim(figure, l.verdict))
	}
	return all
}

func (g goal) claim(figure, verdict string) claim {
	c := claim{what: g.label(), against: "-", figures: []string{figure}, goal: g.bound(), verdict: verdict}
	if g.peer != "" {
		c.against = g.peer
		c.goal = strings.TrimSuffix(c.goal, "x "+g.peer)
	}
	return c
}

// TestReadme: the README has a row for each goal, in its order, says the goal
// as it is, and calls met only what its own figure meets.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Numbers\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := map[string][]string{}
	for row := range strings.Lines(section) {
		if cells := strings.Split(strings.Trim(row, "|\n "), " | "); len(cells) == 5 {
			rows[cells[0]+" against "+cells[1]] = cells
		}
	}
	for _, g := range append(goals(), recordGoals()...) {
		if g.ours == "sallyport-durable" {
			continue
		}
		c := g.claim("", "")
		cells := rows[c.what+" against "+c.against]
		if cells == nil {
			t.Errorf("no row says %q against %s", c.what, c.against)
			continue
		}
		figure, _, _ := strings.Cut(cells[2], ", durable ")
		value, err := strconv.ParseFloat(figure, 64)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if cells[3] != c.goal || cells[4] != g.verdict(value) {
			t.Errorf("%s: goal %s, %s; want %s, %s", c.what, cells[3], cells[4], c.goal, g.verdict(value))
		}
	}
}
