package policy

import (
	"strings"
	"testing"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestPins(t *testing.T) {
	p := small(t, `[{"name": "a", "allow": {"from": "*", "to": "llm"}, "require": {"tools": {"in": "known"}}}, {"name": "b", "allow": {"from": "*", "to": "llm"}}]`)
	p.Lists = map[string]*policyv1.List{"known": {Tools: map[string]string{"search": "sha256:" + strings.Repeat("ab", 32)}}}
	c := compiled(t, p)
	var right [32]byte
	for i := range right {
		right[i] = 0xab
	}
	pins := c.Pins("a")
	for _, tt := range []struct {
		tool   string
		digest [32]byte
		want   bool
	}{{"search", right, true}, {"search", [32]byte{}, false}, {"Search", [32]byte{}, true}, {"other", right, true}} {
		if got := pins.Holds(tt.tool, tt.digest); got != tt.want {
			t.Errorf("%s of %x holds: %v, want %v", tt.tool, tt.digest[:2], got, tt.want)
		}
	}
	if c.Pins("b") != nil || !c.Pins("b").Holds("search", [32]byte{}) {
		t.Error("an intent that requires nothing holds tools to something")
	}
}

func TestHold(t *testing.T) {
	for text, want := range map[string]int{"64KiB": 64 << 10, "4MiB": 4 << 20, "64MiB": 64 << 20} {
		if got, err := parseHold(text); got != want || err != nil {
			t.Errorf("%s = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0KiB", "04KiB", "4", "4KB", "-1KiB", "65MiB", "65537KiB", "4GiB", "4 MiB"} {
		if n, err := parseHold(text); err == nil {
			t.Errorf("%q = %d", text, n)
		}
	}
	p := small(t, `[]`)
	p.Workloads["llm"].Hold = map[string]string{"chat": "1MiB"}
	w := compiled(t, p).Workload("llm")
	if got := w.Service("chat").Hold; got != 1<<20 {
		t.Errorf("hold of chat is %d", got)
	}
	if got := w.Service("health").Hold; got != DefaultHold {
		t.Errorf("hold of health is %d", got)
	}
}
