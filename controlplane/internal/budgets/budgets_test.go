package budgets

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

const alice = "spiffe://onprem.demo/ai/alice"

func use(caller string, used int64) *controlv1.BudgetUse {
	return &controlv1.BudgetUse{Caller: caller, Intent: "plan", What: "tokens", Window: 86400, Start: noon().Unix() - 43200, Used: used}
}

func of(u *controlv1.BudgetUse, gateway string) *controlv1.BudgetUse {
	u.Gateway = gateway
	return u
}

// mesh is a book, and gateways that ask it as they should.
type mesh struct {
	*testing.T

	book *Book
	now  time.Time
	last map[string]*controlv1.ShareBudgetsResponse
	seq  uint64
}

func newMesh(t *testing.T) *mesh {
	return &mesh{T: t, book: New(noon()), now: noon(), last: map[string]*controlv1.ShareBudgetsResponse{}}
}

// share is a gateway "environment/name" that tells; of its environment are a to d.
func (m *mesh) share(name string, uses ...*controlv1.BudgetUse) *controlv1.ShareBudgetsResponse {
	m.Helper()
	environment, gateway, _ := strings.Cut(name, "/")
	gateway, run, _ := strings.Cut(gateway, "#")
	m.seq++
	resp, err := m.book.Share(policy.Gateway{Name: gateway, Environment: environment}, []string{"a", "b", "c"}, &controlv1.ShareBudgetsRequest{
		Run: "run" + run, Sequence: m.seq, Memory: m.last[name].GetMemory(), Since: m.last[name].GetVersion(), Uses: uses, Complete: true,
	}, m.now)
	if err != nil {
		m.Fatalf("%s: %v", name, err)
	}
	m.last[name] = resp
	return resp
}

func (m *mesh) want(name string, whole bool, want ...*controlv1.BudgetUse) {
	m.Helper()
	resp := m.share(name)
	if diff := cmp.Diff(want, resp.GetUses(), protocmp.Transform()); diff != "" || resp.GetWhole() != whole {
		m.Errorf("%s hears, whole %v (-want +got):\n%s", name, resp.GetWhole(), diff)
	}
}

func TestShare(t *testing.T) {
	m := newMesh(t)
	m.share("onprem/a", use(alice, 5), use("spiffe://onprem.demo/b", 6))
	m.want("onprem/b", false, of(use(alice, 5), "a"), of(use("spiffe://onprem.demo/b", 6), "a"))
	m.want("onprem/b", false) // c is missing, and a has not said that it is complete
	m.share("onprem/a", use(alice, 7))
	m.want("azure/b", false)
	m.want("onprem/c", true, of(use("spiffe://onprem.demo/b", 6), "a"), of(use(alice, 7), "a"))
	m.want("onprem/c", true)
	m.want("onprem/b", true, of(use(alice, 7), "a"))
	m.want("onprem/a", true)
	// What has changed comes last, and alone.
	m.share("onprem/b", use(alice, 1))
	m.share("onprem/a", use("spiffe://onprem.demo/b", 4))
	m.want("onprem/c", true, of(use(alice, 1), "b"), of(use("spiffe://onprem.demo/b", 4), "a"))
}

// TestWholeInTime: a gateway that is away holds nobody up for long.
func TestWholeInTime(t *testing.T) {
	m := newMesh(t)
	m.share("onprem/a")
	m.now = noon().Add(warm - time.Millisecond)
	m.want("onprem/a", false)
	m.now = noon().Add(warm)
	m.want("onprem/a", true)
}

// TestRestartOfAGateway: its new run hears what the one before told, until it tells it again.
func TestRestartOfAGateway(t *testing.T) {
	m := newMesh(t)
	m.share("onprem/a", use(alice, 5))
	m.share("onprem/a")
	m.want("onprem/a#2", false, of(use(alice, 5), "a"))
	m.share("onprem/c")
	m.share("onprem/c")
	m.share("onprem/a#2", use(alice, 9))
	m.want("onprem/b", true, of(use(alice, 9), "a"))
	delete(m.last, "onprem/a#2")
	m.want("onprem/a#2", false)
}

// TestRestartOfTheControlPlane: since is of the memory that is gone.
func TestRestartOfTheControlPlane(t *testing.T) {
	m := newMesh(t)
	for range 3 {
		m.share("onprem/b", use(alice, 5))
	}
	first := m.share("onprem/a").GetMemory()
	m.book = New(m.now)
	m.share("onprem/b", use(alice, 6))
	resp := m.share("onprem/a")
	if len(resp.GetUses()) != 1 || resp.GetMemory() == first || resp.GetWhole() {
		t.Errorf("another memory says %v", resp)
	}
}

func TestWindows(t *testing.T) {
	m := newMesh(t)
	later, earlier := use(alice, 1), use(alice, 50)
	later.Start += 86400
	minute := use(alice, 3)
	minute.Window, minute.Start = 60, noon().Unix()
	m.share("onprem/a", use(alice, 5), minute)
	m.share("onprem/a", later)
	m.share("onprem/a", earlier) // which comes late
	m.want("onprem/b", false, of(minute, "a"), of(later, "a"))
	// What is over is said for a while, and then forgotten.
	m.now = noon().Add(2 * time.Minute)
	delete(m.last, "onprem/b")
	m.want("onprem/b", true, of(later, "a"))
	if n := m.book.environments["onprem"].told.Len(); n != 1 {
		t.Errorf("%d uses are remembered, want 1", n)
	}
	m.now = noon().Add(48 * time.Hour)
	m.share("onprem/b")
	if env := m.book.environments["onprem"]; env.told.Len() != 0 || len(env.gateways["a"].uses) != 0 {
		t.Errorf("%d uses are remembered, want none", env.told.Len())
	}
}

func TestResponsesAreBounded(t *testing.T) {
	m := newMesh(t)
	long := strings.Repeat("x", 1900)
	for i := range 3 {
		var uses []*controlv1.BudgetUse
		for j := range 500 {
			uses = append(uses, use(fmt.Sprintf("spiffe://onprem.demo/%s/%d", long, i*500+j), 1))
		}
		m.share("onprem/a", uses...)
	}
	m.share("onprem/c")
	m.share("onprem/c")
	m.share("onprem/b")
	delete(m.last, "onprem/b")
	seen := map[string]bool{}
	for i := 0; ; i++ {
		resp := m.share("onprem/b")
		if len(resp.GetUses()) > 600 {
			t.Fatalf("%d uses at a time", len(resp.GetUses()))
		}
		for _, u := range resp.GetUses() {
			seen[u.GetCaller()] = true
		}
		if resp.GetWhole() {
			break
		}
		if i > 5 {
			t.Fatal("there is no end")
		}
	}
	if len(seen) != 1500 {
		t.Errorf("%d callers are heard of, want 1500", len(seen))
	}
}

func TestRefused(t *testing.T) {
	self := policy.Gateway{Name: "a", Environment: "onprem"}
	with := func(change func(*controlv1.BudgetUse)) []*controlv1.BudgetUse {
		u := use(alice, 5)
		change(u)
		return []*controlv1.BudgetUse{use("spiffe://onprem.demo/good", 1), u}
	}
	type u = *controlv1.BudgetUse
	many := make([]u, maxRequest+1)
	for i := range many {
		many[i] = use(alice, 1)
	}
	for name, req := range map[string]*controlv1.ShareBudgetsRequest{
		"no run":            {},
		"long run":          {Run: strings.Repeat("r", maxText+1)},
		"too many":          {Run: "r", Uses: many},
		"no caller":         {Run: "r", Uses: with(func(u u) { u.Caller = "" })},
		"not an ID":         {Run: "r", Uses: with(func(u u) { u.Caller = "alice" })},
		"long caller":       {Run: "r", Uses: with(func(u u) { u.Caller = "spiffe://a.test/" + strings.Repeat("a", maxText) })},
		"no intent":         {Run: "r", Uses: with(func(u u) { u.Intent = "" })},
		"long intent":       {Run: "r", Uses: with(func(u u) { u.Intent = strings.Repeat("a", maxText+1) })},
		"nothing counted":   {Run: "r", Uses: with(func(u u) { u.What = "calls" })},
		"another's":         {Run: "r", Uses: with(func(u u) { u.Gateway = "b" })},
		"seconds":           {Run: "r", Uses: with(func(u u) { u.Window = 1 })},
		"no window":         {Run: "r", Uses: with(func(u u) { u.Window = 0 })},
		"no window's start": {Run: "r", Uses: with(func(u u) { u.Start++ })},
		"before there was":  {Run: "r", Uses: with(func(u u) { u.Start = -86400 })},
		"in two days":       {Run: "r", Uses: with(func(u u) { u.Start += 2 * 86400 })},
		"less than nothing": {Run: "r", Uses: with(func(u u) { u.Used = -1 })},
		"too much":          {Run: "r", Uses: with(func(u u) { u.Used = maxUsed + 1 })},
	} {
		b := New(noon())
		req.Sequence = 1
		if _, err := b.Share(self, nil, req, noon()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if len(b.environments) != 0 {
			t.Errorf("%s: something is remembered of it", name)
		}
	}
}

func TestLateRequestsChangeNothing(t *testing.T) {
	b, self := New(noon()), policy.Gateway{Name: "a", Environment: "onprem"}
	ask := func(sequence uint64, used int64) error {
		_, err := b.Share(self, nil, &controlv1.ShareBudgetsRequest{Run: "r", Sequence: sequence, Uses: []*controlv1.BudgetUse{use(alice, used)}}, noon())
		return err
	}
	for i, c := range []struct {
		sequence uint64
		stale    bool
	}{{0, true}, {2, false}, {1, true}, {2, true}, {3, false}} {
		if err := ask(c.sequence, int64(c.sequence)); errors.Is(err, ErrStale) != c.stale {
			t.Errorf("request %d: %v", i, err)
		}
	}
	resp, err := b.Share(policy.Gateway{Name: "b", Environment: "onprem"}, nil, &controlv1.ShareBudgetsRequest{Run: "r", Sequence: 1}, noon())
	if err != nil || len(resp.GetUses()) != 1 || resp.GetUses()[0].GetUsed() != 3 {
		t.Errorf("heard %v, %v", resp, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMesh(t)
	n := 0
	batch := func() []*controlv1.BudgetUse {
		uses := make([]*controlv1.BudgetUse, maxRequest)
		for i := range uses {
			uses[i] = use(fmt.Sprintf("spiffe://onprem.demo/%d", n), 1)
			n++
		}
		return uses
	}
	for n < maxUses {
		m.share("onprem/a", batch()...)
	}
	_, err := m.book.Share(policy.Gateway{Name: "a", Environment: "onprem"}, nil, &controlv1.ShareBudgetsRequest{Run: "run", Sequence: 1 << 20, Uses: batch()}, noon())
	if !errors.Is(err, ErrInvalid) || m.book.environments["onprem"].told.Len() != maxUses {
		t.Errorf("one more: %v", err)
	}
	m.seq = 1 << 20
	m.share("onprem/a", use("spiffe://onprem.demo/7", 2)) // of what it has told already
}

func FuzzShare(f *testing.F) {
	f.Add("r", uint64(1), uint64(0), alice, "plan", "tokens", uint32(86400), noon().Unix()-43200, int64(5), true)
	f.Add("", uint64(0), uint64(1)<<63, "", "", "", uint32(0), int64(-1), int64(-1), false)
	f.Fuzz(func(t *testing.T, run string, sequence, since uint64, caller, intent, what string, window uint32, start, used int64, complete bool) {
		b := New(noon())
		u := &controlv1.BudgetUse{Caller: caller, Intent: intent, What: what, Window: window, Start: start, Used: used}
		req := &controlv1.ShareBudgetsRequest{Run: run, Sequence: sequence, Memory: b.memory, Since: since, Uses: []*controlv1.BudgetUse{u}, Complete: complete}
		_, err := b.Share(policy.Gateway{Name: "a", Environment: "onprem"}, []string{"a", "b"}, req, noon())
		resp, again := b.Share(policy.Gateway{Name: "b", Environment: "onprem"}, []string{"a", "b"}, &controlv1.ShareBudgetsRequest{Run: "r", Sequence: 1, Memory: b.memory}, noon())
		if again != nil || err != nil && len(resp.GetUses()) != 0 || len(resp.GetUses()) > 1 {
			t.Errorf("told %v (%v), heard %v (%v)", req, err, resp, again)
		}
	})
}

// BenchmarkShare is of one change that is told among very many that are known.
func BenchmarkShare(b *testing.B) {
	book, n := New(noon()), uint64(0)
	ask := func(name string, since uint64, uses ...*controlv1.BudgetUse) uint64 {
		n++
		resp, err := book.Share(policy.Gateway{Name: name, Environment: "onprem"}, []string{"a", "b"}, &controlv1.ShareBudgetsRequest{
			Run: "r", Sequence: n, Memory: book.memory, Since: since, Uses: uses,
		}, noon())
		if err != nil {
			b.Fatal(err)
		}
		return resp.GetVersion()
	}
	for i := range 60_000 {
		ask("a", 1<<62, use(fmt.Sprintf("spiffe://onprem.demo/%d", i), 1))
	}
	since := book.environments["onprem"].version
	b.ReportAllocs()
	for b.Loop() {
		ask("a", since, use("spiffe://onprem.demo/7", 2))
		since = ask("b", since)
	}
}
