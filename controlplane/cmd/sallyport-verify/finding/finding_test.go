package finding

import (
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
)

// TestList: it keeps the first ones of each kind, counts the others, and forgets no weight.
func TestList(t *testing.T) {
	var l List
	if l.Worst() != Note {
		t.Error("nothing weighs something")
	}
	for n := range uint64(most + 50) {
		l.Add(In(Unknown, Unproven, "log", n, "why"))
	}
	l.Add(Finding{Weight: Fault, Kind: Fork})
	if len(l.All) != most+1 || l.More[Unproven] != 50 || l.Worst() != Fault {
		t.Errorf("%d kept, %v more, worst %d", len(l.All), l.More, l.Worst())
	}
	for range most + 1 {
		l.Add(Finding{Weight: Fault, Kind: Gap})
	}
	l.Add(Finding{Kind: Pending})
	if l.Worst() != Fault {
		t.Error("a note makes up for a fault")
	}
}

// TestWhere: a place is as much as is known of it.
func TestWhere(t *testing.T) {
	c := statement.Chain{Egress: "spiffe://a.example/g/near-1", Ingress: "spiffe://b.example/g/far-1", Run: strings.Repeat("ab", 16)}
	f := Of(Fault, Changed, c, 3, 7, "%s", "why")
	index := uint64(0)
	f.Log, f.Index = "a.example/sallyport/log", &index
	if got, want := f.Where(), "a.example/sallyport/log, entry 0, near-1 ─► far-1, run abababab, epoch 3, number 7"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	c.Ingress = ""
	f = Of(Note, Pending, c, 0, 0, "")
	if got, want := f.Where(), "near-1 ─► what it refused, run abababab"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (&Finding{}).Where(); got != "" {
		t.Errorf("nowhere is %q", got)
	}
}
