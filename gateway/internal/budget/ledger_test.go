package budget

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

const alice, plan = "spiffe://onprem.demo/ai/alice", "plan"

// noon is in the middle of a day and at the beginning of an hour.
func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func parsed(t testing.TB, texts ...string) []limits.Limit {
	t.Helper()
	var all []limits.Limit
	for _, text := range texts {
		what, limit, _ := strings.Cut(text, ": ")
		l, err := limits.Parse(what, limit)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// own is what a ledger has of a limit; without what others have.
func own(l *Ledger, caller string, limit limits.Limit) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[owner{caller, plan}]; a != nil {
		for _, m := range a.meters {
			if m.is(limit) {
				return m.own()
			}
		}
	}
	return 0
}

func TestReserve(t *testing.T) {
	perSecond := parsed(t, "requests: 2/second", "tokens: 100/day")
	type step struct {
		after time.Duration
		want  Amounts
		why   Why
		retry int
	}
	for _, c := range []struct {
		name   string
		limits []limits.Limit
		steps  []step
	}{
		{"until it is used up", perSecond[1:], []step{
			{0, Amounts{Tokens: 60}, 0, 0},
			{0, Amounts{Tokens: 41}, UsedUp, 12 * 3600},
			{0, Amounts{Tokens: 40}, 0, 0},
			{0, Amounts{Tokens: 1}, UsedUp, 12 * 3600},
			{12*time.Hour - time.Second, Amounts{Tokens: 1}, UsedUp, 1},
			{12*time.Hour - time.Millisecond, Amounts{Tokens: 1}, UsedUp, 1},
			{12 * time.Hour, Amounts{Tokens: 100}, 0, 0},
		}},
		{"seconds begin with one", perSecond[:1], []step{
			{900 * time.Millisecond, Amounts{Requests: 2}, 0, 0},
			{900 * time.Millisecond, Amounts{Requests: 1}, UsedUp, 1},
			{time.Second, Amounts{Requests: 2}, 0, 0},
			{1999 * time.Millisecond, Amounts{Requests: 1}, UsedUp, 1},
			{2 * time.Second, Amounts{Requests: 1}, 0, 0},
		}},
		{"all or none", perSecond, []step{
			{0, Amounts{Requests: 1, Tokens: 101}, UsedUp, 12 * 3600},
			{0, Amounts{Requests: 3, Tokens: 1}, UsedUp, 1},
			{0, Amounts{Requests: 2, Tokens: 100}, 0, 0},
		}},
		{"rounded up", parsed(t, "requests: 1/minute"), []step{
			{0, Amounts{Requests: 1}, 0, 0}, {100 * time.Millisecond, Amounts{Requests: 1}, UsedUp, 60}, {59500 * time.Millisecond, Amounts{Requests: 1}, UsedUp, 1},
		}},
		{"never more than there is", perSecond[1:], []step{
			{0, Amounts{Tokens: math.MaxInt64}, UsedUp, 12 * 3600}, {0, Amounts{Tokens: -5}, 0, 0}, {0, Amounts{Tokens: 100}, 0, 0},
		}},
		{"a clock that goes back finds the later window", perSecond[:1], []step{
			{5 * time.Second, Amounts{Requests: 2}, 0, 0}, {4 * time.Second, Amounts{Requests: 1}, UsedUp, 2}, {6 * time.Second, Amounts{Requests: 1}, 0, 0},
		}},
	} {
		l := New()
		for i, s := range c.steps {
			_, refused := l.Reserve(alice, plan, c.limits, s.want, noon().Add(s.after))
			var why Why
			retry := 0
			if refused != nil {
				why, retry = refused.Why, refused.RetryAfter
			}
			if why != s.why || retry != s.retry {
				t.Errorf("%s, step %d: %v after %d s, want %v after %d s (%v)", c.name, i, why, retry, s.why, s.retry, refused)
			}
		}
	}
}

func TestRefusedSaysWhy(t *testing.T) {
	l := New()
	l.most = 1
	limit := parsed(t, "tokens: 2000000/day")
	if _, refused := l.Reserve(alice, plan, limit, Amounts{Tokens: 2_000_000}, noon()); refused != nil {
		t.Fatal(refused)
	}
	_, refused := l.Reserve(alice, plan, limit, Amounts{Tokens: 1}, noon())
	want := &Refused{Intent: plan, Limit: limit[0], Why: UsedUp, Again: noon().Add(12 * time.Hour), RetryAfter: 12 * 3600}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if got := refused.String(); got != "tokens of intent plan, 2000000/day: used up until 2026-11-24T00:00:00Z" {
		t.Errorf("it says %q", got)
	}
	_, refused = l.Reserve("spiffe://onprem.demo/bob", plan, limit, Amounts{Tokens: 1}, noon())
	if refused == nil || refused.Why != TooMany || refused.RetryAfter != 60 || !strings.Contains(refused.String(), "too many callers") {
		t.Errorf("one caller too many: %v", refused)
	}
	// When a window is over there is room again.
	if _, refused := l.Reserve("spiffe://onprem.demo/bob", plan, limit, Amounts{Tokens: 1}, noon().Add(12*time.Hour)); refused != nil {
		t.Errorf("the next day: %v", refused)
	}
}

func TestSettle(t *testing.T) {
	limit := parsed(t, "tokens: 100/hour", "requests: 10/hour")
	reserve := func(l *Ledger, n int64) Reservation {
		r, refused := l.Reserve(alice, plan, limit, Amounts{Tokens: n, Requests: 1}, noon())
		if refused != nil {
			t.Fatal(refused)
		}
		return r
	}
	for _, c := range []struct {
		name             string
		end              func(*Reservation)
		tokens, requests int64
	}{
		{"less", func(r *Reservation) { r.Settle(Amounts{Tokens: 10, Requests: 1}) }, 10, 1},
		{"as much", func(r *Reservation) { r.Settle(Amounts{Tokens: 60, Requests: 1}) }, 60, 1},
		{"more than the limit", func(r *Reservation) { r.Settle(Amounts{Tokens: 150, Requests: 1}) }, 150, 1},
		{"dropped", (*Reservation).Drop, 0, 0},
		{"twice", func(r *Reservation) { r.Settle(Amounts{Tokens: 10}); r.Settle(Amounts{Tokens: 10}); r.Drop() }, 10, 0},
		{"dropped, then settled", func(r *Reservation) { r.Drop(); r.Settle(Amounts{Tokens: 10}) }, 0, 0},
		{"less than nothing", func(r *Reservation) { r.Settle(Amounts{Tokens: -10}) }, 0, 0},
		{"more than can be counted", func(r *Reservation) { r.Settle(Amounts{Tokens: math.MaxInt64}) }, maxAmount, 0},
		{"not ended", func(*Reservation) {}, 60, 1},
	} {
		l := New()
		r := reserve(l, 60)
		c.end(&r)
		if tokens, requests := own(l, alice, limit[0]), own(l, alice, limit[1]); tokens != c.tokens || requests != c.requests {
			t.Errorf("%s: %d tokens and %d requests, want %d and %d", c.name, tokens, requests, c.tokens, c.requests)
		}
		_, refused := l.Reserve(alice, plan, limit, Amounts{Tokens: 1}, noon())
		if (refused != nil) != (c.tokens >= 100) {
			t.Errorf("%s: then %v", c.name, refused)
		}
	}
	var nothing Reservation
	nothing.Settle(Amounts{Tokens: 5})
	if r, refused := New().Reserve(alice, plan, nil, Amounts{Tokens: 5}, noon()); refused != nil || r.ledger != nil {
		t.Errorf("without limits: %v", refused)
	}
}

// TestSettledIntoItsWindow: a call that ends in a later window changes nothing of it.
func TestSettledIntoItsWindow(t *testing.T) {
	limit := parsed(t, "tokens: 100/hour")
	for name, settle := range map[string]int64{"with less": 10, "with more": 500} {
		l := New()
		r, _ := l.Reserve(alice, plan, limit, Amounts{Tokens: 60}, noon())
		if _, refused := l.Reserve(alice, plan, limit, Amounts{Tokens: 100}, noon().Add(time.Hour)); refused != nil {
			t.Fatal(refused)
		}
		r.Settle(Amounts{Tokens: settle})
		if got := own(l, alice, limit[0]); got != 100 {
			t.Errorf("%s: the later hour has %d, want 100", name, got)
		}
	}
	// Nor one that ends when its meter is forgotten.
	l := New()
	r, _ := l.Reserve(alice, plan, limit, Amounts{Tokens: 60}, noon())
	l.Sweep(noon().Add(time.Hour))
	r.Settle(Amounts{Tokens: 10})
	if len(l.accounts) != 0 || l.meters != 0 || len(l.Tell(10, noon().Add(time.Hour)).Uses) != 0 {
		t.Errorf("what is over is remembered: %d accounts, %d meters", len(l.accounts), l.meters)
	}
}

func TestEachCallerAndIntentIsCountedApart(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 1/minute")
	for _, of := range [][2]string{{alice, plan}, {"spiffe://onprem.demo/bob", plan}, {alice, "other"}} {
		if _, refused := l.Reserve(of[0], of[1], limit, Amounts{Requests: 1}, noon()); refused != nil {
			t.Errorf("%v: %v", of, refused)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 1/minute", "bytes: 1KiB/second")
	l.most = 100
	now := noon()
	for i := range 1000 {
		_, refused := l.Reserve("spiffe://a.test/"+strconv.Itoa(i), plan, limit, Amounts{Requests: 1}, now)
		if (refused != nil) != (i >= 50) {
			t.Fatalf("caller %d: %v", i, refused)
		}
	}
	if l.meters > 100 || len(l.accounts) > 51 {
		t.Errorf("%d meters of %d accounts", l.meters, len(l.accounts))
	}
	l.Sweep(now.Add(time.Minute))
	if l.meters != 0 || len(l.accounts) != 0 || len(l.changed) != 0 {
		t.Errorf("after their window: %d meters of %d accounts, %d to be told", l.meters, len(l.accounts), len(l.changed))
	}
}

// TestConcurrent: however calls come and end, no more is let in than there is, and in the
// end all is accounted for.
func TestConcurrent(t *testing.T) {
	const most = 1000
	l, limit := New(), parsed(t, "tokens: 1000/day")
	var under, settled atomic.Int64
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 2000 {
				n := int64(1 + (i*7+worker)%40)
				r, refused := l.Reserve(alice, plan, limit, Amounts{Tokens: n}, noon())
				if refused != nil {
					continue
				}
				if now := under.Add(n); now > most {
					t.Errorf("%d are let in", now)
				}
				actual := int64(0)
				if i%50 == 0 {
					actual = 1
				}
				under.Add(actual - n)
				settled.Add(actual)
				r.Settle(Amounts{Tokens: actual})
				if i%100 == 0 {
					l.Unheard(l.Tell(10, noon()))
					l.Sweep(noon())
				}
			}
		})
	}
	all.Wait()
	if got := own(l, alice, limit[0]); got != settled.Load() {
		t.Errorf("%d are settled, want %d", got, settled.Load())
	}
}

func TestReserveDoesNotAllocate(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 50000000/second", "tokens: 2000000000/day", "cost: 5000000/hour")
	want := Amounts{Requests: 1, Tokens: 1000, Cost: 50}
	if n := testing.AllocsPerRun(100, func() {
		r, refused := l.Reserve(alice, plan, limit, want, noon())
		if refused != nil {
			t.Fatal(refused)
		}
		r.Settle(Amounts{Requests: 1, Tokens: 500, Cost: 20})
	}); n != 0 {
		t.Errorf("a call allocates %v times", n)
	}
}

func BenchmarkReserveAndSettle(b *testing.B) {
	l, limit := New(), parsed(b, "requests: 500000000/second", "tokens: 20000000000000/day")
	want, actual, now := Amounts{Requests: 1, Tokens: 10}, Amounts{Requests: 1, Tokens: 5}, noon()
	b.ReportAllocs()
	for b.Loop() {
		r, refused := l.Reserve(alice, plan, limit, want, now)
		if refused != nil {
			b.Fatal(refused)
		}
		r.Settle(actual)
	}
}

func full(b *testing.B) *Ledger {
	b.Helper()
	l, limit := New(), parsed(b, "tokens: 20000000000000/day")
	for i := range maxMeters {
		l.Reserve("spiffe://onprem.demo/ai/agent/"+strconv.Itoa(i), plan, limit, Amounts{Tokens: 1}, noon())
	}
	return l
}

// BenchmarkSweep is for how long calls wait at most, once a second.
func BenchmarkSweep(b *testing.B) {
	l := full(b)
	for b.Loop() {
		l.Sweep(noon())
	}
}

// BenchmarkSnapshot is of a full ledger.
func BenchmarkSnapshot(b *testing.B) {
	l := full(b)
	for b.Loop() {
		entries, _ := l.snapshot(noon())
		if text, err := encode(entries); err != nil || len(entries) != maxMeters {
			b.Fatal(len(entries), err)
		} else {
			b.SetBytes(int64(len(text)))
		}
	}
}
