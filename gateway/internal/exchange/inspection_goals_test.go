//go:build linux && !race

package exchange

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"runtime"
	"syscall"
	"testing"
	"time"
)

var goalRounds = flag.Int("rounds", 0, "rounds of TestInspectionGoals; none, and it is skipped, if 0")

// Each figure is the least of some rounds: neighbours on the machine only ever add.
const (
	goalChat   = 2 << 10
	goalBatch  = 1_000  // exchanges
	goalTokens = 20_000 // in a batch
)

// TestInspectionGoals prints what inspection adds, in rows that e2e/bench reads. It fails
// on a wrong answer, never on a figure.
func TestInspectionGoals(t *testing.T) {
	if *goalRounds == 0 {
		t.Skip("say how many rounds: -rounds 10")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one core
	for _, p := range spokens {
		content := chatOf(goalChat)
		bare, inspects := newStage(t, p, content, false), newStage(t, p, content, true)
		took := leastCPU(t, *goalRounds, goalBatch,
			func() { bare.depart(t.Context()) }, func() { inspects.depart(t.Context()) },
			func() { bare.arrive(t.Context()) }, func() { inspects.arrive(t.Context()) },
			func() { unmarshalRequest(t, bare.content) })
		row(t, "goal", p.name+", a chat at the egress gateway, added", took[1]-took[0])
		row(t, "goal", p.name+", a chat at the ingress gateway, added", took[3]-took[2])
		row(t, "encoding/json", p.name+", a chat at the egress gateway, added", took[4])
		row(t, "encoding/json", p.name+", a chat at the ingress gateway, added", took[4])
		row(t, "goal", p.name+", a chat at the egress gateway, uninspected", took[0])
		row(t, "goal", p.name+", a chat at the ingress gateway, uninspected", took[2])

		heard, token := inspects.listens(t), []byte(p.token)
		stream := bytes.Repeat(token, goalTokens/100)
		took = leastCPU(t, *goalRounds, 100, func() {
			for range goalTokens / 100 {
				heard.Pass(token)
			}
		}, func() { readEvents(t, stream) })
		row(t, "goal", p.name+", a streamed token", took[0]/(goalTokens/100))
		row(t, "encoding/json", p.name+", a streamed token", took[1]/(goalTokens/100))
	}
}

func row(t *testing.T, whose, name string, us float64) {
	t.Helper()
	t.Logf("%s\t%s\tus of CPU\t%.3f", whose, name, us)
}

// leastCPU is how much CPU time each takes, in us: the least of some rounds, in each of
// which all are done n times.
func leastCPU(t *testing.T, rounds, n int, all ...func()) []float64 {
	t.Helper()
	least := make([]float64, len(all))
	for round := range rounds {
		for i, do := range all {
			runtime.GC()
			before := usedCPU(t)
			for range n {
				do()
			}
			us := float64((usedCPU(t) - before).Nanoseconds()) / 1e3 / float64(n)
			if round == 0 || us < least[i] {
				least[i] = us
			}
		}
	}
	return least
}

func usedCPU(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// unmarshalRequest is the least that a program does that wants to know the same.
func unmarshalRequest(t testing.TB, content []byte) {
	var r struct {
		Model     string
		Stream    bool
		MaxTokens int `json:"max_tokens"`
		N         int
		Tools     []struct{ Name string }
	}
	if err := json.Unmarshal(content, &r); err != nil || r.Model != "small" {
		t.Fatalf("%+v: %v", r, err)
	}
}

// readEvents is the least that a program does that wants to know of a stream how it goes
// on.
func readEvents(t testing.TB, stream []byte) {
	type text struct{ Content, Text string }
	var e struct {
		Type, ID, Model string
		Choices         []struct {
			Index        int
			Delta        text
			FinishReason string `json:"finish_reason"`
		}
		Delta text
		Usage *struct{ Output int }
	}
	lines := bufio.NewScanner(bytes.NewReader(stream))
	for lines.Scan() {
		data, is := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !is {
			continue
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
	}
	if e.Delta.Text == "" && (len(e.Choices) == 0 || e.Choices[0].Delta.Content == "") {
		t.Fatal("nothing was read")
	}
}
