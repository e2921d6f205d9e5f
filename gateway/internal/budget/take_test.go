package budget

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30

// begun is an exchange that goes on, of which a byte was taken.
func begun(t *testing.T, l *Ledger, of []limits.Limit, now time.Time) *Reservation {
	t.Helper()
	r, refused := l.Reserve(alice, plan, of, Amounts{Requests: 1, Bytes: 1}, now)
	if refused != nil {
		t.Fatal(refused)
	}
	return &r
}

// spent is a call that came to so much.
func spent(t *testing.T, l *Ledger, of []limits.Limit, n int64, now time.Time) {
	t.Helper()
	r, refused := l.Reserve(alice, plan, of, Amounts{Bytes: n}, now)
	if refused != nil {
		t.Fatal(refused)
	}
	r.Settle(Amounts{Bytes: n})
}

// TestSlices: how much is given at a time, and after how long.
func TestSlices(t *testing.T) {
	const late = 30 * time.Second // in the window of a minute
	for _, c := range []struct {
		name   string
		limit  string
		left   int64
		at     time.Duration // in the window
		want   int64
		waited time.Duration
		bytes  int64
		wait   time.Duration // until the next slice
		why    Why
	}{
		{name: "there is a lot", limit: "1GiB/minute", left: gib / 2, at: late, want: 32 * kib, bytes: 256 * kib},
		{name: "less is left", limit: "4MiB/minute", left: 2 * mib, at: late, want: 32 * kib, bytes: 128 * kib},
		{name: "less than is wanted", limit: "4MiB/minute", left: 10, at: late, want: 100, bytes: 10, wait: 10 * time.Second / floor},
		{name: "the last tenth, at what is left over the time that is", limit: "1GiB/minute", left: 90 * mib, at: late, want: 32 * kib, bytes: 256 * kib, wait: time.Second / 12},
		{name: "the last tenth, no slower than the floor", limit: "30MiB/minute", left: mib, at: late, want: 32 * kib, bytes: 64 * kib, wait: time.Second},
		{name: "after a long wait", limit: "30MiB/minute", left: mib, at: late, want: 32 * kib, waited: LongestWait, bytes: 32 * kib, wait: time.Second / 2},
		{name: "nothing is left", limit: "1MiB/minute", at: late, want: 1, why: UsedUp},
		{name: "nothing, but soon", limit: "1MiB/minute", at: 59 * time.Second, want: 1, wait: time.Second},
		{name: "nothing, and waited for", limit: "1MiB/minute", at: 59 * time.Second, want: 1, waited: LongestWait, why: UsedUp},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, of, now := New(), parsed(t, "bytes: "+c.limit), noon().Add(c.at)
			r := begun(t, l, of, noon())
			spent(t, l, of, of[0].Most-c.left-1, noon())
			got, refused := r.Take(c.want, c.waited, now)
			if c.why != 0 {
				if refused == nil || refused.Why != c.why {
					t.Fatalf("%+v, %v", got, refused)
				}
				return
			}
			if refused != nil || got.Bytes != c.bytes {
				t.Fatalf("%+v, %v", got, refused)
			}
			if c.bytes > 0 {
				got, _ = r.Take(c.want, 0, now)
			}
			if d := got.Wait - c.wait; d < -time.Millisecond || d > time.Millisecond {
				t.Errorf("the next is after %v, want %v", got.Wait, c.wait)
			}
		})
	}
}

// TestTakenAcrossWindows: what passes in a window counts there, also if its meter was
// forgotten meanwhile, and in each of several limits.
func TestTakenAcrossWindows(t *testing.T) {
	l, of := New(), parsed(t, "bytes: 100MiB/minute", "bytes: 1GiB/hour", "requests: 5/minute")
	r := begun(t, l, of, noon())
	later := noon().Add(2 * time.Minute)
	passed := int64(1)
	for _, now := range []time.Time{noon(), noon(), later, later} {
		l.Sweep(now) // of what is over
		g, refused := r.Take(32*kib, 0, now)
		if refused != nil {
			t.Fatal(refused)
		}
		passed += g.Bytes
	}
	check := func(when string, minute, hour int64) {
		t.Helper()
		for i, want := range []int64{minute, hour} {
			if got := own(l, alice, of[i]); got != want {
				t.Errorf("%s: %d of %s, want %d", when, got, of[i], want)
			}
		}
	}
	check("before the end", 512*kib, 1024*kib+1)
	r.Settle(Amounts{Requests: 1, Bytes: passed - 10})
	check("at the end", 512*kib-10, 1024*kib+1-10)
}

// TestTakeSharesAndWaits: a gateway that has used up its share waits to hear of the others,
// for as long as anybody waits, and goes no further.
func TestTakeSharesAndWaits(t *testing.T) {
	l, of := New(), parsed(t, "bytes: 1MiB/minute")
	l.SetGateways(2)
	r := begun(t, l, of, noon())
	for total := int64(1); ; {
		g, refused := r.Take(32*kib, 0, noon())
		if refused != nil {
			t.Fatal(refused)
		}
		if total += g.Bytes; g.Bytes == 0 && (total != mib/2 || g.Wait != time.Second) {
			t.Fatalf("after %d: %+v", total, g)
		}
		if g.Bytes == 0 {
			break
		}
	}
	if g, refused := r.Take(32*kib, LongestWait, noon()); refused == nil || refused.Why != ShareUsedUp {
		t.Errorf("%+v, %v", g, refused)
	}
	telling := l.Tell(10, noon())
	l.Heard(telling, nil, true, noon())
	if g, refused := r.Take(32*kib, 0, noon()); refused != nil || g.Bytes == 0 {
		t.Errorf("once the others know: %+v, %v", g, refused)
	}
}

// TestTakeOfWhatHasEnded: what is settled gives and takes nothing.
func TestTakeOfWhatHasEnded(t *testing.T) {
	l, of := New(), parsed(t, "bytes: 1MiB/minute")
	r := begun(t, l, of, noon())
	r.Settle(Amounts{Bytes: 5})
	if r.CountsBytes() {
		t.Error("it still counts")
	}
	if r.Take(100, 0, noon()); own(l, alice, of[0]) != 5 {
		t.Errorf("%d are used", own(l, alice, of[0]))
	}
}

// TestTakeDoesNotAllocate: it is done while others wait.
func TestTakeDoesNotAllocate(t *testing.T) {
	l, of := New(), parsed(t, "bytes: 1000GiB/day", "bytes: 1000GiB/hour")
	r, now := begun(t, l, of, noon()), noon()
	if n := testing.AllocsPerRun(100, func() { r.Take(32*kib, 0, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
