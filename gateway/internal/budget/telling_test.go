package budget

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

// take is what of a limit is let in at once, one by one.
func take(l *Ledger, limit []limits.Limit, now time.Time) (n int64) {
	for {
		if _, refused := l.Reserve(alice, plan, limit, Amounts{Requests: 1}, now); refused != nil {
			return n
		}
		n++
	}
}

// of another gateway, or without a name of an earlier run.
func used(limit limits.Limit, n int64, by string) []Use {
	start := time.Unix(startOf(noon(), int64(limit.Window/time.Second)), 0).UTC()
	return []Use{{Caller: alice, Intent: plan, What: limit.What, Window: limit.Window, Start: start, Used: n, Gateway: by}}
}

// TestShares: between two tellings a gateway takes its share of what was left.
func TestShares(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 100/day")
	l.SetGateways(2)
	for i, c := range []struct {
		others int64
		want   int64
	}{{-1, 50}, {0, 25}, {0, 12}, {5, 4}, {5, 2}, {6, 1}, {6, 0}} {
		if c.others >= 0 {
			l.Heard(l.Tell(10, noon()), used(limit[0], c.others, "b"), true, noon())
		}
		if got := take(l, limit, noon()); got != c.want {
			t.Errorf("telling %d: %d are let in, want %d", i, got, c.want)
		}
	}
	// What others give back is there again.
	l.Heard(l.Tell(10, noon()), used(limit[0], 0, "b"), true, noon())
	if got := take(l, limit, noon()); got != 3 {
		t.Errorf("%d are let in, want 3", got)
	}
	// With one gateway less it is all that is left.
	l.SetGateways(1)
	if got := take(l, limit, noon()); got != 3 {
		t.Errorf("%d are let in, want 3", got)
	}
}

// TestOneLargeCall goes in if nothing was taken since the last telling.
func TestOneLargeCall(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 100/day")
	l.SetGateways(4)
	reserve := func(n int64) Why {
		if _, refused := l.Reserve(alice, plan, limit, Amounts{Requests: n}, noon()); refused != nil {
			return refused.Why
		}
		return 0
	}
	if why := reserve(60); why != 0 {
		t.Errorf("the first: %v", why)
	}
	if why := reserve(1); why != ShareUsedUp {
		t.Errorf("the second: %v", why)
	}
	l.Heard(l.Tell(10, noon()), nil, true, noon())
	if why := reserve(41); why != UsedUp {
		t.Errorf("more than is left: %v", why)
	}
	if why := reserve(40); why != 0 {
		t.Errorf("all that is left: %v", why)
	}
}

func TestRetryAfterOfAShare(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 2/day", "requests: 2/minute", "requests: 2/second")
	l.SetGateways(2)
	retry := func(i int, now time.Time) int {
		t.Helper()
		take(l, limit[i:i+1], now)
		_, refused := l.Reserve(alice, plan, limit[i:i+1], Amounts{Requests: 1}, now)
		if refused == nil || refused.Why != ShareUsedUp {
			t.Fatalf("limit %d: %v", i, refused)
		}
		return refused.RetryAfter
	}
	if got := retry(0, noon()); got != 5 {
		t.Errorf("nothing was heard: after %d s", got)
	}
	l.Heard(l.Tell(0, noon()), nil, true, noon())
	for i, want := range []int{1, 1, 1} {
		if got := retry(i, noon()); got != want {
			t.Errorf("limit %d: after %d s, want %d", i, got, want)
		}
	}
	if got := retry(1, noon().Add(58*time.Second)); got != 2 {
		t.Errorf("at the end of its window: after %d s", got)
	}
}

// TestOnlyWhatChangedIsTold, and that again if it was not heard.
func TestOnlyWhatChangedIsTold(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 10/day", "bytes: 1MiB/second")
	if uses := l.Tell(10, noon()).Uses; uses != nil {
		t.Errorf("told of nothing: %v", uses)
	}
	r, _ := l.Reserve(alice, plan, limit, Amounts{Requests: 3, Bytes: 5}, noon())
	told := l.Tell(10, noon())
	if diff := cmp.Diff(&Telling{Uses: used(limit[0], 3, ""), Complete: true}, told, cmpopts.IgnoreUnexported(Telling{})); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	l.Unheard(told)
	r.Settle(Amounts{Requests: 1})
	told = l.Tell(10, noon())
	if len(told.Uses) != 1 || told.Uses[0].Used != 1 {
		t.Errorf("told again %v", told.Uses)
	}
	l.Heard(told, nil, false, noon())
	told = l.Tell(10, noon())
	if len(told.Uses) != 1 {
		t.Errorf("to somebody who did not know all, told again %v", told.Uses)
	}
	l.Heard(told, nil, true, noon())
	if uses := l.Tell(10, noon()).Uses; uses != nil {
		t.Errorf("told what was heard: %v", uses)
	}
	l.TellAll()
	if uses := l.Tell(10, noon()).Uses; len(uses) != 1 {
		t.Errorf("told all: %v", uses)
	}
	take(l, limit[:1], noon())
	if uses := l.Tell(10, noon().Add(12*time.Hour)).Uses; uses != nil {
		t.Errorf("told of yesterday: %v", uses)
	}
}

func TestTellingsAreBounded(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 10/day")
	for i := range 25 {
		l.Reserve("spiffe://a.test/"+strconv.Itoa(i), plan, limit, Amounts{Requests: 1}, noon())
	}
	seen := map[string]bool{}
	for i, want := range []int{10, 10, 5, 0} {
		told := l.Tell(10, noon())
		if len(told.Uses) != want || told.Complete != (i >= 2) {
			t.Errorf("telling %d has %d uses, complete %v", i, len(told.Uses), told.Complete)
		}
		for _, u := range told.Uses {
			seen[u.Caller] = true
		}
		l.Heard(told, nil, true, noon())
	}
	if len(seen) != 25 {
		t.Errorf("%d callers were told of", len(seen))
	}
}

// TestGivenBackIsNotTakenTwice: what was told to be less may be taken by others. It is
// not there for this gateway on top of its share, though the answer was lost.
func TestGivenBackIsNotTakenTwice(t *testing.T) {
	for name, end := range map[string]func(*Ledger, *Telling){
		"lost":       (*Ledger).Unheard,
		"on its way": func(*Ledger, *Telling) {},
		"not whole":  func(l *Ledger, t *Telling) { l.Heard(t, nil, false, noon()) },
	} {
		l, limit := New(), parsed(t, "requests: 100/day")
		l.SetGateways(2)
		r, _ := l.Reserve(alice, plan, limit, Amounts{Requests: 90}, noon())
		l.Heard(l.Tell(10, noon()), nil, true, noon())
		r.Drop()
		end(l, l.Tell(10, noon())) // the others may know now that 100 are left
		if got := take(l, limit, noon()); got != 50 {
			t.Errorf("%s: %d are let in, want 50", name, got)
		}
	}
}

// TestForgottenIsToldAgain, even when nothing is left of what was told.
func TestForgottenIsToldAgain(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 100/day")
	l.SetGateways(2)
	r, _ := l.Reserve(alice, plan, limit, Amounts{Requests: 90}, noon())
	l.Heard(l.Tell(10, noon()), nil, true, noon())
	r.Drop()
	l.Heard(l.Tell(10, noon()), nil, true, noon())
	l.TellAll()
	if told := l.Tell(10, noon()); len(told.Uses) != 1 || told.Uses[0].Used != 0 {
		t.Errorf("told %v", told.Uses)
	}
}

func TestWhatIsHeard(t *testing.T) {
	limit := parsed(t, "requests: 100/day", "requests: 100/second")
	with := func(change func(*Use)) Use {
		u := used(limit[0], 60, "b")[0]
		change(&u)
		return u
	}
	for _, c := range []struct {
		name   string
		use    Use
		left   int64
		missed bool
	}{
		{"another's", with(func(*Use) {}), 40, false},
		{"an earlier run's", with(func(u *Use) { u.Gateway = "" }), 40, false},
		{"too much", with(func(u *Use) { u.Used = 1 << 62 }), 0, false},
		{"less than nothing", with(func(u *Use) { u.Used = -60 }), 100, false},
		{"yesterday's", with(func(u *Use) { u.Start = u.Start.Add(-24 * time.Hour) }), 100, false},
		{"tomorrow's", with(func(u *Use) { u.Start = u.Start.Add(24 * time.Hour) }), 100, true},
		{"of no window", with(func(u *Use) { u.Start = u.Start.Add(time.Hour) }), 100, false},
		{"of a second", with(func(u *Use) { u.Window, u.Start = time.Second, noon() }), 100, false},
		{"of no time", with(func(u *Use) { u.Window = 0 }), 100, false},
		{"of another window", with(func(u *Use) { u.Window, u.Start = time.Hour, noon() }), 100, false},
		{"of something else", with(func(u *Use) { u.What = limits.Bytes }), 100, false},
	} {
		l := New()
		l.Heard(l.Tell(10, noon()), []Use{c.use, c.use}, true, noon())
		if got := take(l, limit[:1], noon()); got != c.left {
			t.Errorf("%s: %d are left, want %d", c.name, got, c.left)
		}
		if got := l.Missed(); got != c.missed || l.Missed() {
			t.Errorf("%s: missed %v, want %v, once", c.name, got, c.missed)
		}
	}
}

// TestHeardAgainWhenThereIsRoom: what there was no room for counts later.
func TestHeardAgainWhenThereIsRoom(t *testing.T) {
	l, limit := New(), parsed(t, "requests: 100/day", "requests: 1/minute")
	l.most = 1
	l.Reserve("spiffe://a.test/b", plan, limit[1:], Amounts{Requests: 1}, noon())
	l.Heard(l.Tell(10, noon()), used(limit[0], 60, "b"), true, noon())
	if l.Missed() {
		t.Error("it is to be heard again though there is no room")
	}
	l.Sweep(noon().Add(time.Minute))
	if !l.Missed() {
		t.Error("it is not heard again when there is room")
	}
}
