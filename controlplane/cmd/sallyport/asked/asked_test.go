package asked

import (
	"strings"
	"testing"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var now = time.Date(2026, 11, 23, 10, 20, 0, 0, time.UTC)

// TestStates: each state has a word that is read as it, and nothing else is read.
func TestStates(t *testing.T) {
	for n := range crossingv1.Record_State_name {
		s := crossingv1.Record_State(n)
		got, err := State(Word(s))
		if s == crossingv1.Record_STATE_UNSPECIFIED {
			if err == nil {
				t.Errorf("%s is read as %s", Word(s), got)
			}
			continue
		}
		if err != nil || got != s {
			t.Errorf("%s is read as %s: %v", Word(s), got, err)
		}
	}
	if s, err := State(""); s != crossingv1.Record_STATE_UNSPECIFIED || err != nil {
		t.Errorf("no state is %s: %v", s, err)
	}
	if _, err := State("joind"); err == nil || !strings.Contains(err.Error(), `did you mean "joined"?`) {
		t.Errorf("joind: %v", err)
	}
}

func TestWindow(t *testing.T) {
	earliest, end, err := Window("1h", "2026-11-23T11:00:00+01:00", now)
	if err != nil || !earliest.AsTime().Equal(now.Add(-time.Hour)) || !end.AsTime().Equal(now.Add(-20*time.Minute)) {
		t.Errorf("%v to %v: %v", earliest, end, err)
	}
	if earliest, end, err = Window("", "", now); earliest != nil || end != nil || err != nil {
		t.Errorf("no bounds are %v to %v: %v", earliest, end, err)
	}
	for _, bad := range [][2]string{{"5m", "10m"}, {"-5m", ""}, {"", "-5m"}, {"noon", ""}, {"", "2026-11-23"}, {"2026-11-23T10:15:00", ""}, {"1e999h", ""}} {
		if earliest, end, err := Window(bad[0], bad[1], now); err == nil {
			t.Errorf("%q to %q is read as %v to %v", bad[0], bad[1], earliest, end)
		}
	}
}

// FuzzTrace: what is taken names one thing, by characters that nothing else could mean.
func FuzzTrace(f *testing.F) {
	for _, seed := range []string{
		"4bf92f3577b34da6a3ce929d0e0e4736", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "01A207E6-e4d8-7d3e-9a54-000000000002",
		strings.Repeat("0", 32), "{01a207e6-e4d8-7d3e-9a54-000000000002}", "00-0000-ü", "", " ",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Trace(text)
		if err != nil {
			return
		}
		if name := r.GetId() + r.GetTrace(); (r.GetId() == "") == (r.GetTrace() == "") || strings.Trim(name, "0123456789abcdef-") != "" || !strings.Contains(strings.ToLower(text), name) {
			t.Errorf("%q is read as %v", text, r)
		}
	})
}
