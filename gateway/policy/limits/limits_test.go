package limits

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const day, hour = 24 * time.Hour, time.Hour
	cases := []struct {
		what, text string
		want       Limit
		fault      string
	}{
		{"requests", "50/second", Limit{Requests, 50, time.Second}, ""},
		{"requests", "1/day", Limit{Requests, 1, day}, ""},
		{"tokens", "2000000/day", Limit{Tokens, 2_000_000, day}, ""},
		{"tokens", "1/hour", Limit{Tokens, 1, hour}, ""},
		{"tokens", "7/minute", Limit{Tokens, 7, time.Minute}, ""},
		{"bytes", "200GiB/day", Limit{Bytes, 200 << 30, day}, ""},
		{"bytes", "1023/second", Limit{Bytes, 1023, time.Second}, ""},
		{"bytes", "1TiB/hour", Limit{Bytes, 1 << 40, hour}, ""},
		{"bytes", "3KiB/minute", Limit{Bytes, 3 << 10, time.Minute}, ""},
		{"cost", "5000/day", Limit{Cost, 5_000_000_000, day}, ""},

		{"tokens", "1/second", Limit{}, `limit of tokens "1/second" is not N/day or N/hour or N/minute`},
		{"cost", "1/second", Limit{}, "is not N/day"},
		{"cost", "1.5/day", Limit{}, "is not"},
		{"requests", "1/week", Limit{}, "is not N/day or N/hour or N/minute or N/second"},
		{"requests", "0/day", Limit{}, "is not"},
		{"requests", "-1/day", Limit{}, "is not"},
		{"requests", "+1/day", Limit{}, "is not"},
		{"requests", "01/day", Limit{}, "is not"},
		{"requests", "1", Limit{}, "is not"},
		{"requests", "1/", Limit{}, "is not"},
		{"requests", "1KiB/day", Limit{}, "is not"},
		{"requests", "", Limit{}, "is not"},
		{"bytes", "1GB/day", Limit{}, "is not"},
		{"bytes", "GiB/day", Limit{}, "is not"},
		{"bytes", "2000000TiB/day", Limit{}, "more than can be counted"},
		{"cost", "2000000000000/day", Limit{}, "more than can be counted"},
		{"requests", "99999999999999999999/day", Limit{}, "is not"},
		{"token", "1/day", Limit{}, `unknown limit "token"; did you mean "tokens"?`},
	}
	for _, c := range cases {
		got, err := Parse(c.what, c.text)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("Parse(%q, %q) = %v, want %q", c.what, c.text, err, c.fault)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("Parse(%q, %q) = %+v, %v, want %+v", c.what, c.text, got, err, c.want)
		}
		if got.String() != c.text {
			t.Errorf("%q is written %q", c.text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("bytes", "200GiB/day")
	f.Add("cost", "5000/hour")
	f.Add("tokens", "1/second")
	f.Fuzz(func(t *testing.T, what, text string) {
		l, err := Parse(what, text)
		if err != nil {
			return
		}
		if l.Most <= 0 || l.Most > maxMost || l.Window < time.Second {
			t.Errorf("Parse(%q, %q) = %+v", what, text, l)
		}
		if again, err := Parse(l.What.String(), l.String()); err != nil || again != l {
			t.Errorf("%+v is written %q, which is %+v, %v", l, l, again, err)
		}
	})
}

func TestWhat(t *testing.T) {
	for _, w := range []What{Requests, Tokens, Bytes, Cost} {
		if got, ok := ParseWhat(w.String()); !ok || got != w {
			t.Errorf("ParseWhat(%q) = %v, %v", w, got, ok)
		}
	}
	if _, ok := ParseWhat("calls"); ok {
		t.Error("calls are counted")
	}
	if got := What(9).String(); got != "what 9" {
		t.Errorf("What(9) = %q", got)
	}
}

func TestAll(t *testing.T) {
	got, err := All(map[string]string{"tokens": "2000000/day", "requests": "50/second", "cost": "1/hour", "bytes": "1KiB/minute"})
	want := []Limit{{Requests, 50, time.Second}, {Tokens, 2_000_000, 24 * time.Hour}, {Bytes, 1024, time.Minute}, {Cost, MicroPerUnit, time.Hour}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("All (-want +got), %v:\n%s", err, diff)
	}
	if _, err := All(map[string]string{"tokens": "1/week"}); err == nil {
		t.Error("a limit that is none was read")
	}
}
