package budget

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

// left is what of a limit is left to a process that begins with a directory.
func left(t *testing.T, sys disk.System, limit []limits.Limit, now time.Time) int64 {
	t.Helper()
	l := New()
	if err := NewFile(sys, "state", l).Load(now); err != nil {
		t.Fatal(err)
	}
	return take(l, limit, now)
}

func memory(t *testing.T) *disktest.Memory {
	t.Helper()
	m := disktest.NewMemory()
	if err := errors.Join(m.MakeDir("state"), m.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRestartKeepsBudgets(t *testing.T) {
	m, limit := memory(t), parsed(t, "requests: 100/day", "requests: 50/second")
	if got := left(t, m, limit[:1], noon()); got != 100 {
		t.Errorf("without a file %d are left", got)
	}
	l := New()
	f := NewFile(m, "state", l)
	l.Heard(l.Tell(10, noon()), used(limit[0], 10, "b"), true, noon())
	settled, _ := l.Reserve(alice, plan, limit[:1], Amounts{Requests: 30}, noon())
	settled.Settle(Amounts{Requests: 20})
	l.Reserve(alice, plan, limit[:1], Amounts{Requests: 5}, noon()) // under way when it stops
	l.Reserve(alice, plan, limit[1:], Amounts{Requests: 50}, noon())
	if err := f.Save(noon()); err != nil {
		t.Fatal(err)
	}
	if got := left(t, m, limit[:1], noon().Add(time.Minute)); got != 65 {
		t.Errorf("%d are left, want 65", got)
	}
	if got := left(t, m, limit[1:], noon()); got != 50 {
		t.Errorf("%d are left of a second, want 50", got)
	}
	if got := left(t, m, limit[:1], noon().Add(12*time.Hour)); got != 100 {
		t.Errorf("%d are left the next day, want 100", got)
	}
	// It is kept further, and not twice.
	again := New()
	for range 2 {
		if err := NewFile(m, "state", again).Load(noon()); err != nil {
			t.Fatal(err)
		}
	}
	if err := NewFile(m, "state", again).Save(noon()); err != nil {
		t.Fatal(err)
	}
	if got := left(t, m, limit[:1], noon()); got != 65 {
		t.Errorf("after two restarts %d are left, want 65", got)
	}
	told := again.Tell(10, noon())
	if len(told.Uses) != 1 || told.Uses[0].Used != 25 {
		t.Errorf("it tells %v, want 25 used", told.Uses)
	}
}

// TestToldIsKept: a restart gives no second share, and takes none away.
func TestToldIsKept(t *testing.T) {
	m, limit := memory(t), parsed(t, "requests: 100/day")
	l := New()
	l.SetGateways(2)
	take(l, limit, noon()) // 50
	l.Heard(l.Tell(10, noon()), nil, true, noon())
	l.Reserve(alice, plan, limit, Amounts{Requests: 5}, noon())
	if err := NewFile(m, "state", l).Save(noon()); err != nil {
		t.Fatal(err)
	}
	again := New()
	again.SetGateways(2)
	if err := NewFile(m, "state", again).Load(noon()); err != nil {
		t.Fatal(err)
	}
	if got := take(again, limit, noon()); got != 20 {
		t.Errorf("%d are left of a share of 25 of which 5 are used", got)
	}
}

func TestSavedOnlyWhenChanged(t *testing.T) {
	m, limit := memory(t), parsed(t, "requests: 100/day", "requests: 50/second")
	writes := 0
	m.After = func(call string) {
		if strings.HasPrefix(call, "rename") {
			writes++
		}
	}
	l := New()
	f := NewFile(m, "state", l)
	for i, c := range []struct {
		change func()
		want   int
	}{
		{func() {}, 0},
		{func() { l.Reserve(alice, plan, limit[:1], Amounts{Requests: 1}, noon()) }, 1},
		{func() {}, 1},
		{func() { l.Reserve(alice, plan, limit[1:], Amounts{Requests: 1}, noon()) }, 1},
		{func() { l.Heard(l.Tell(10, noon()), used(limit[0], 10, "b"), true, noon()) }, 2},
	} {
		c.change()
		if err := f.Save(noon()); err != nil || writes != c.want {
			t.Errorf("step %d: %d writes, want %d (%v)", i, writes, c.want, err)
		}
	}
}

// TestPowerCut: at whatever point the power is cut, there is what was saved last or the
// time before.
func TestPowerCut(t *testing.T) {
	limit := parsed(t, "requests: 100/day")
	for _, choose := range []disktest.Choice{disktest.Nothing, disktest.Everything, func(n int) int { return n / 2 }} {
		m := memory(t)
		var cuts []*disktest.Memory
		m.After = func(string) { cuts = append(cuts, m.Cut(choose)) }
		l := New()
		f := NewFile(m, "state", l)
		saved := int64(0)
		for range 5 {
			l.Reserve(alice, plan, limit, Amounts{Requests: 1}, noon())
			cuts = nil
			if err := f.Save(noon()); err != nil {
				t.Fatal(err)
			}
			for i, cut := range cuts {
				if got := 100 - left(t, cut, limit, noon()); got != saved && got != saved+1 {
					t.Errorf("cut %d after %d: %d are used", i, saved, got)
				}
			}
			saved++
		}
		if got := 100 - left(t, m.Cut(choose), limit, noon()); got != 5 {
			t.Errorf("%d are used, want 5", got)
		}
	}
}

func TestDamage(t *testing.T) {
	limit := parsed(t, "requests: 100/day")
	m := memory(t)
	l := New()
	take(l, limit, noon())
	if err := NewFile(m, "state", l).Save(noon()); err != nil {
		t.Fatal(err)
	}
	good, err := disk.ReadFile(m, "state/budgets")
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(good)
	flipped[len(flipped)-5] ^= 1
	for name, text := range map[string][]byte{
		"empty": nil, "short": good[:len(good)-1], "long": append(slices.Clone(good), '\n'), "flipped": flipped,
		"no head": good[30:], "another form": []byte(strings.Replace(string(good), "budgets 1", "budgets 2", 1)), "zeros": make([]byte, 4096),
	} {
		if err := disk.WriteFile(m, "state/budgets", text); err != nil {
			t.Fatal(err)
		}
		again := New()
		f := NewFile(m, "state", again)
		if err := f.Load(noon()); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if aside, err := disk.ReadFile(m, "state/budgets.damaged"); err != nil || !slices.Equal(aside, text) {
			t.Errorf("%s: not set aside: %v", name, err)
		}
		if got := take(again, limit, noon()); got != 100 {
			t.Errorf("%s: %d are left", name, got)
		}
		if err := f.Save(noon()); err != nil || left(t, m, limit, noon()) != 0 {
			t.Errorf("%s: not kept again: %v", name, err)
		}
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/budgets", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := NewFile(disk.OS{}, dir, New()).Load(noon()); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("a directory in its place: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	entries := []entry{{Caller: alice, Intent: plan, What: "tokens", Window: 86400, Start: noon().Unix() - 43200, Used: 5, Told: 3}}
	good, err := encode(append(entries, entry{Gateway: "b", What: "x", Window: -1, Start: 1 << 62, Used: -5}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("sallyport budgets 1 length=-9 crc32c=00000000\n"))
	f.Add([]byte("sallyport budgets 1 length=2 crc32c=3bf0e1c7\n[]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := decode(text)
		if err != nil {
			return
		}
		l := New()
		l.restore(entries, noon())
		for _, m := range l.changed {
			if m.own() < 0 || m.told > m.own() {
				t.Errorf("%+v", m)
			}
		}
	})
}

// FuzzRestore skips the checksum.
func FuzzRestore(f *testing.F) {
	f.Add(alice, plan, "tokens", int64(86400), noon().Unix()-43200, int64(5), int64(3), "b")
	f.Add("", "", "cost", int64(1)<<62, int64(-5), int64(-1), int64(1)<<62, "")
	f.Fuzz(func(t *testing.T, caller, intent, what string, window, start, used, told int64, gateway string) {
		l := New()
		e := entry{caller, intent, what, window, start, used, told, gateway}
		l.restore([]entry{e, e}, noon())
		for _, a := range l.all {
			for _, m := range a.meters {
				if m.own() < 0 || m.others < 0 || m.told < 0 || m.told > m.own() || m.ended(noon()) {
					t.Errorf("%+v of %+v", m, e)
				}
			}
		}
	})
}
