package chain

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/trust"
)

var (
	name  = statement.Chain{Egress: "spiffe://a.example/g/near-1", Ingress: "spiffe://b.example/g/far-1", Run: strings.Repeat("ab", 16)}
	began = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	ever  = &trust.Key{}
)

// claimed is a claim of an epoch that follows another one; nil is none. Its hash is made of
// its epoch and of what.
func claimed(epoch uint64, what byte, before *statement.Statement) *statement.Statement {
	s := &statement.Statement{Chain: name, Epoch: epoch, First: epoch, Next: epoch + 1, Since: began, At: began.Add(time.Duration(epoch) * time.Second)}
	s.Hash = merkle.Leaf([]byte{byte(epoch), what})
	if before != nil {
		s.Previous = before.Hash[:]
	}
	return s
}

// answered is a claim with an answer.
func answered(s *statement.Statement, what byte) *statement.Statement {
	with := *s
	with.Answer = &statement.Answer{At: s.At, Hash: merkle.Leaf([]byte{byte(s.Epoch), what, 'a'})}
	return &with
}

func delivery(at time.Time) Delivery {
	return Delivery{Log: "a.example/sallyport/log", Entered: at, Gateway: name.Egress}
}

func kinds(all []finding.Finding) (names []finding.Kind) {
	for _, f := range all {
		if f.Weight == finding.Fault {
			names = append(names, f.Kind)
		}
	}
	return names
}

// TestOrder: what is found does not depend on the order in which statements are added.
func TestOrder(t *testing.T) {
	one := answered(claimed(1, 'x', nil), 'x')
	two, other := claimed(2, 'x', one), claimed(2, 'y', one)
	two.Answered = one.Answer.Hash[:]
	three := claimed(3, 'x', two)
	late := claimed(5, 'x', three)
	all := []*statement.Statement{one, two, other, three, late}
	want := []finding.Kind{finding.Fork, finding.Dropped}
	for range all {
		all = append(all[1:], all[0])
		c := New(name)
		for _, s := range all {
			c.Add(s, ever, ever, delivery(s.At))
		}
		if got := kinds(c.Find(began.Add(-time.Hour))); !slices.Equal(got, want) {
			t.Errorf("it finds %v, want %v", got, want)
		}
		if got := c.Epochs(); !slices.Equal(got, []uint64{1, 2, 3, 5}) || c.Last().Epoch != 5 || c.Over() {
			t.Errorf("epochs %v", got)
		}
	}
}

// TestVariants: of many claims of one epoch, some are kept; the one that was answered
// counts.
func TestVariants(t *testing.T) {
	c := New(name)
	for what := range byte(20) {
		s := claimed(1, what, nil)
		if what == 2 {
			s = answered(s, 'x')
		}
		c.Add(s, ever, ever, delivery(began))
	}
	for what := range byte(20) {
		c.Add(answered(claimed(1, 2, nil), what), ever, ever, delivery(began))
	}
	if n := len(c.epochs[1]); n != maxVariants {
		t.Errorf("%d claims are kept", n)
	}
	if got := c.Claim(1); got.Hash != claimed(1, 2, nil).Hash || len(got.Answers) != maxVariants {
		t.Errorf("claim %x with %d answers counts", got.Hash[:4], len(got.Answers))
	}
	if got := kinds(c.Find(began)); !slices.Equal(got, []finding.Kind{finding.Fork, finding.Fork}) {
		t.Errorf("it finds %v", got)
	}
}

// TestExpired: what came too late counts if what came in time follows it.
func TestExpired(t *testing.T) {
	old := &trust.Key{Until: began.Add(time.Minute)}
	fresh := &trust.Key{Until: began.Add(24 * time.Hour)}
	late := began.Add(3 * time.Hour)
	one := claimed(1, 'x', nil)
	two := answered(claimed(2, 'x', one), 'x')
	three := claimed(3, 'x', two)
	three.Answered = two.Answer.Hash[:]
	for _, c := range []struct {
		name string
		keys []*trust.Key
		at   []time.Time
		want int
	}{
		{"all in time", []*trust.Key{old, old, old}, []time.Time{began, began, began}, 0},
		{"late, within grace", []*trust.Key{old, old, old}, []time.Time{began.Add(trust.Grace), began, began}, 0},
		{"all late", []*trust.Key{old, old, old}, []time.Time{late, late, late}, 4},
		{"the last one in time", []*trust.Key{old, old, fresh}, []time.Time{late, late, late}, 0},
		{"the first one in time", []*trust.Key{fresh, old, old}, []time.Time{late, late, late}, 3},
		{"without date", []*trust.Key{ever, ever, ever}, []time.Time{late, late, late}, 0},
	} {
		all := New(name)
		for i, s := range []*statement.Statement{one, two, three} {
			all.Add(s, c.keys[i], c.keys[i], delivery(c.at[i]))
		}
		if got := kinds(all.Find(began)); len(got) != c.want || slices.ContainsFunc(got, func(k finding.Kind) bool { return k != finding.BackDated }) {
			t.Errorf("%s: it finds %v, want %d", c.name, got, c.want)
		}
	}
	all := New(name)
	dated := claimed(1, 'x', nil)
	dated.At = began.Add(2 * time.Minute)
	all.Add(dated, old, nil, delivery(began))
	if got := kinds(all.Find(began)); !slices.Equal(got, []finding.Kind{finding.BackDated}) {
		t.Errorf("dated after its key: it finds %v", got)
	}
	again := claimed(1, 'x', nil) // signed again by the next process
	again.At = dated.At
	all.Add(again, fresh, nil, delivery(late))
	if got := kinds(all.Find(began)); len(got) > 0 {
		t.Errorf("signed again: it finds %v", got)
	}
}

// TestWithin: a log has what its gateways sign, once that should have come.
func TestWithin(t *testing.T) {
	c := New(name)
	one := answered(claimed(1, 'x', nil), 'x')
	c.Add(one, ever, ever, delivery(one.At))
	for _, x := range []struct {
		origin, td string
		last       time.Duration
		want       int
	}{
		{"a.example/sallyport/log", "a.example", time.Minute, 0},
		{"b.example/sallyport/log", "b.example", time.Minute, 1},
		{"b.example/sallyport/log", "b.example", Late, 0},
		{"c.example/sallyport/log", "c.example", time.Minute, 0},
	} {
		l := Log{Origin: x.origin, TrustDomain: x.td, First: began, Last: began.Add(x.last)}
		if got := c.Within(l); len(got) != x.want {
			t.Errorf("%s, to %s: it finds %v", x.origin, x.last, got)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		want string
		of   []uint64
	}{
		{"", nil},
		{"7", []uint64{7}},
		{"1–3, 5", []uint64{1, 2, 3, 5}},
		{"1, 3, 5, 7, 9, 11, 13, 15 and 2 more", []uint64{1, 3, 5, 7, 9, 11, 13, 15, 17, 19}},
	} {
		if got := Ranges(c.of); got != c.want {
			t.Errorf("%v: %q, want %q", c.of, got, c.want)
		}
	}
}
