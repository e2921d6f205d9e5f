package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// TestAnswers: of a live mesh it is told who owns a transition and what crossed it, which
// pairs are shut, what crossed in all, and what crossed in one state, page by page.
func TestAnswers(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	client := m.As(t, "orchestrator")
	var ids []string
	for _, url := range []string{"https://llm.azure.mesh:8000/v1/models", "https://registry.aws.mesh:5000/v2/", "https://llm.azure.mesh:8000/v1/models"} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		meshtest.ReadAll(t, resp)
		ids = append(ids, resp.Header.Get("sallyport-crossing"))
		m.Record(t, ids[len(ids)-1])
	}
	slices.Sort(ids)
	answersOwner(t, m)
	answersMatrix(t, m)
	answersPages(t, m, ids)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"owner azure onprem", 1, "who owns azure"},
		{"owner onprm azure", 2, `did you mean "onprem"?`},
		{"crossings --to azur", 2, `did you mean "azure"?`},
		{"crossings --state one-sided", 1, "no crossing found"},
		{"crossings --until 2020-01-01T00:00:00Z", 1, "no crossing found"},
		{"unmatched --from nowhere", 2, "it has aws, azure, onprem"},
	} {
		if s := meshtest.Sallyport(t, m.Dir(), strings.Fields(c.args)...); s.Code != c.code || !strings.Contains(s.Stdout+s.Stderr, c.says) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s%s", c.args, s.Code, c.code, c.says, s.Stdout, s.Stderr)
		}
	}
}

// answersOwner waits until both calls are counted.
func answersOwner(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	var said string
	var o struct {
		Owner, Sink, ReviewBy string
		SinceSerial           uint64
		Allowed               uint64
		LastDay               struct{ Allowed, Denied, Unmatched, Bytes uint64 }
	}
	m.Eventually(t, func() bool {
		said = ask(t, m.Dir(), "owner", "onprem", "azure", "-o", "json")
		if err := json.Unmarshal([]byte(said), &o); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		return o.LastDay.Allowed == 2 && o.LastDay.Unmatched == 0 && o.LastDay.Bytes > 0
	})
	if o.Owner != "ml-platform" || o.Sink != "records" || o.ReviewBy == "" || o.SinceSerial != 1 || o.Allowed != 2 || o.LastDay.Denied != 0 {
		t.Errorf("the owner of onprem ─► azure: %s", said)
	}
	table := ask(t, m.Dir(), "owner", "onprem", "azure")
	for _, want := range []string{"ml-platform", "2 allowed, 0 denied, 0 unmatched", "serial 1, so since serial 1"} {
		if !strings.Contains(table, want) {
			t.Errorf("the owner of onprem ─► azure, without %q:\n%s", want, table)
		}
	}
}

func answersMatrix(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	table := ask(t, m.Dir(), "matrix", "--since", "1h")
	for _, want := range []string{"2 / 0, ", "0 / 1, ", "shut", "spiffe://onprem.demo/ai/orchestrator  spiffe://azure.demo/ai/llm"} {
		if !strings.Contains(table, want) {
			t.Errorf("the matrix, without %q:\n%s", want, table)
		}
	}
	var early struct{ Cells, Talkers []any }
	if text := ask(t, m.Dir(), "matrix", "--until", "1h", "-o", "json"); json.Unmarshal([]byte(text), &early) != nil || len(early.Cells)+len(early.Talkers) > 0 {
		t.Errorf("before anything crossed: %s", text)
	}
}

// answersPages turns pages of one crossing each, from the newest back.
func answersPages(t *testing.T, m *meshtest.Mesh, ids []string) {
	t.Helper()
	var seen []string
	for args := []string{"crossings", "--limit", "1"}; ; args = []string{"crossings", "--limit", "1", "--before", seen[0]} {
		s := meshtest.Sallyport(t, m.Dir(), append(args, "-o", "json")...)
		var page []recordJSON
		if err := json.Unmarshal([]byte(s.Stdout), &page); err != nil {
			t.Fatalf("%v: %s%s", err, s.Stdout, s.Stderr)
		}
		if len(page) == 0 {
			break
		}
		if seen = append([]string{page[0].ID}, seen...); len(seen) > len(ids) {
			break
		}
	}
	if !slices.Equal(seen, ids) {
		t.Errorf("the pages are %v, want %v", seen, ids)
	}
	if denied := listJSON[recordJSON](t, m.Dir(), "crossings", "--state", "denied"); len(denied) != 1 || denied[0].Transition.To != "aws" {
		t.Errorf("denied are %+v", denied)
	}
	if joined := listJSON[recordJSON](t, m.Dir(), "crossings", "--state", "joined", "--from", "onprem"); len(joined) != 2 {
		t.Errorf("joined are %+v", joined)
	}
}
