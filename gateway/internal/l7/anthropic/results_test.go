package anthropic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// succeeded is a line of a batch's results, of a message that was answered.
func succeeded(model, usage string) string {
	return `{"custom_id":"c","result":{"type":"succeeded","message":{"id":"msg_1","type":"message","role":"assistant","model":"` + model +
		`","content":[{"type":"text","text":"usage \"model\""}],"stop_reason":"end_turn","usage":{` + usage + `}}}}` + "\n"
}

// summed is what results say of which all lines could be read.
func summed(model string, tokens inspect.Tokens) *inspect.Said {
	return says(func(s *inspect.Said) { s.Model, s.Tokens = model, tokens })
}

func TestResults(t *testing.T) {
	const (
		errored = `{"custom_id":"e","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"x"}}}}` + "\n"
		expired = `{"custom_id":"x","result":{"type":"expired"}}` + "\n"
	)
	small := succeeded("small", `"input_tokens":10,"cache_read_input_tokens":2,"cache_creation_input_tokens":1,"output_tokens":5,"output_tokens_details":{"thinking_tokens":3}`)
	plain := succeeded("small", `"input_tokens":1,"output_tokens":4`)
	large := succeeded("large", `"input_tokens":100,"output_tokens":0`)
	both := inspect.Tokens{Input: 14, Output: 9, CacheRead: 2, CacheWritten: 1, Reasoning: 3, Counted: 9}
	one := inspect.Tokens{Input: 1, Output: 4, CacheRead: -1, CacheWritten: -1, Reasoning: -1, Counted: 4}
	partly := one
	partly.Output = -1
	none := inspect.NewSaid().Tokens
	for _, tt := range []struct {
		name, content string
		want          *inspect.Said
	}{
		{"one model", small + plain, summed("small", both)},
		{"two models", small + large + small, summed("small,large", inspect.Tokens{Input: 126, Output: 10, CacheRead: 4, CacheWritten: 2, Reasoning: 6, Counted: 10})},
		{"those that no model answered", errored + plain + strings.Replace(expired, "expired", "canceled", 1) + expired, summed("small", one)},
		{"none was answered", errored + expired, summed("", inspect.Tokens{Input: 0, Output: 0, CacheRead: -1, CacheWritten: -1, Reasoning: -1, Counted: 0})},
		{"the last line does not end", strings.TrimSuffix(small+plain, "\n"), summed("small", both)},
		{"CRLF", strings.ReplaceAll(small+plain, "\n", "\r\n"), summed("small", both)},
		{"CR", strings.ReplaceAll(small+plain, "\n", "\r"), summed("small", both)},
		{"blank lines and space", "\n \t\n" + small + "\r\n\n  " + plain + " ", summed("small", both)},
		{"nothing", "\n", summed("", none)},
		{"a line that is no JSON", plain + "<html>\n", summed("small", partly)},
		{"a line of two texts", plain + strings.TrimSuffix(plain, "\n") + expired, summed("small", partly)},
		{"a line that is cut", plain + plain[:len(plain)-4], summed("small", partly)},
		{"only what is no JSON", "<html>\n", summed("", none)},
		{"a usage that is not there", plain + `{"custom_id":"c","result":{"type":"succeeded","message":{"model":"small"}}}`, summed("small", partly)},
		{"a usage that comes twice", plain + succeeded("small", `"input_tokens":1,"output_tokens":4,"output_tokens":5`), summed("small", partly)},
		{"a usage elsewhere", plain + `{"usage":{"output_tokens":9},"result":{"type":"expired","usage":{"output_tokens":9}}}`, summed("small", one)},
		{"an error that cost something", strings.Replace(plain, "succeeded", "errored", 1), summed("", one)},
		{"a result of another kind", plain + `{"result":{"type":"new"}}`, summed("", partly)},
		{"a model without a name", plain + succeeded(strings.Repeat("m", inspect.MaxText+1), `"input_tokens":0,"output_tokens":0`), summed("", one)},
		{"models that are too long", succeeded(strings.Repeat("m", 100), `"input_tokens":1,"output_tokens":4`) + succeeded(strings.Repeat("n", 100), `"input_tokens":0,"output_tokens":0`) + plain, summed("", inspect.Tokens{Input: 2, Output: 8, CacheRead: -1, CacheWritten: -1, Reasoning: -1, Counted: 8})},
		{"more than a record tells", strings.Repeat(succeeded("small", `"input_tokens":9007199254740991,"output_tokens":4294967295`), 3), summed("small", inspect.Tokens{Input: math.MaxUint32, Output: math.MaxUint32, CacheRead: -1, CacheWritten: -1, Reasoning: -1, Counted: math.MaxUint32})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := hearEvery(t, BatchResults, answered(200, "application/x-jsonl"), tt.content)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", tt.content, diff)
			}
		})
	}
}

// TestResultsBreakOff: what has come is counted, and is no report.
func TestResultsBreakOff(t *testing.T) {
	a := newResults(inspect.NewSaid())
	for i := range int64(3) {
		if _, err := a.Pass([]byte(succeeded("m", `"input_tokens":2,"output_tokens":3`))); err != nil {
			t.Fatal(err)
		}
		want := inspect.Tokens{Input: 2 * (i + 1), Output: -1, CacheRead: -1, CacheWritten: -1, Reasoning: -1, Counted: 3 * (i + 1)}
		if diff := cmp.Diff(want, a.Said().Tokens); diff != "" {
			t.Errorf("after %d lines (-want +got):\n%s", i+1, diff)
		}
	}
}

// TestResultsOfAnyLength: a line more needs no more room.
func TestResultsOfAnyLength(t *testing.T) {
	a, line := newResults(inspect.NewSaid()), []byte(succeeded("m", `"input_tokens":2,"output_tokens":3`))
	if n := testing.AllocsPerRun(100, func() { a.Pass(line) }); n != 0 {
		t.Errorf("a line needs %v allocations", n)
	}
}

// TestRandomResults: sums are those of encoding/json, whatever the lines.
func TestRandomResults(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		var lines strings.Builder
		for range r.IntN(9) {
			lines.WriteString(succeeded("m", fmt.Sprintf(`"output_tokens":%d,"input_tokens":%d`, r.IntN(1000), r.IntN(1000))))
		}
		holdResults(t, []byte(lines.String()), hear(t, BatchResults, answered(200, ""), lines.String(), func(int) int { return 1 + r.IntN(50) }))
	}
}

// holdResults holds a report against encoding/json, which reads each line of it.
func holdResults(t *testing.T, content []byte, said *inspect.Said) {
	t.Helper()
	if said.Tokens.Output < 0 {
		return
	}
	var input, output float64
	for line := range bytes.FieldsFuncSeq(content, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if len(bytes.Trim(line, " \t")) == 0 {
			continue
		}
		var v any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%q says %+v: %v", content, said, err)
		}
		for _, key := range []string{"result", "message", "usage"} {
			m, _ := v.(map[string]any)
			v = m[key]
		}
		m, _ := v.(map[string]any)
		for key, to := range map[string]*float64{"input_tokens": &input, "cache_read_input_tokens": &input, "cache_creation_input_tokens": &input, "output_tokens": &output} {
			if n, ok := m[key].(float64); ok && n >= 0 && n == math.Trunc(n) && n <= maxCount {
				*to += n
			}
		}
	}
	if got := float64(said.Tokens.Output); got > min(output, maxSum) {
		t.Errorf("%q says %v, a reader has %v", content, got, output)
	}
	if got := float64(said.Tokens.Input); got > min(input, maxSum) {
		t.Errorf("%q says %v in, a reader has %v", content, got, input)
	}
}

// FuzzResults: what is told is the same however the answer is cut, and no more than what
// a reader finds.
func FuzzResults(f *testing.F) {
	line := succeeded("m", `"input_tokens":3,"output_tokens":4`)
	for _, content := range []string{line + line, line + "{\n", "\r\n" + line, `{"result":{"type":"expired"}}`, strings.Replace(line, "m", "n,\\u0000", 1) + line} {
		f.Add([]byte(content), 3)
	}
	f.Fuzz(func(t *testing.T, content []byte, n int) {
		head := answered(200, "application/x-jsonl")
		whole := hear(t, BatchResults, head, string(content), func(rest int) int { return rest })
		split := hear(t, BatchResults, head, string(content), func(int) int { return 1 + max(n, 0)%50 })
		if diff := cmp.Diff(whole, split); diff != "" {
			t.Errorf("%q in pieces of %d (-whole +split):\n%s", content, n, diff)
		}
		if len(whole.Model) > maxModels {
			t.Errorf("%q says a model of %d bytes", content, len(whole.Model))
		}
		holdResults(t, content, whole)
	})
}
