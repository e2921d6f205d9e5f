package admission

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// sum is a digest that has that number.
func sum(n int) (s Sum) {
	binary.BigEndian.PutUint64(s[:], uint64(n))
	return s
}

func listing(all ...Sum) policy.Digests {
	d := policy.Digests{}
	for _, s := range all {
		d[s] = struct{}{}
	}
	return d
}

var here = Place{"spiffe://near.test/llm", "spiffe://far.test/registry", "models"}

// TestReaches: a content is allowed by what names it, however far above, where the caller
// got that, and only while it is listed.
func TestReaches(t *testing.T) {
	index, manifest, layer, below := sum(1), sum(2), sum(3), sum(4)
	m := NewMemory()
	m.note(here, index, []Sum{manifest})
	m.note(here, manifest, []Sum{layer})
	m.note(here, layer, []Sum{below}) // one that is a manifest, too
	other := here
	other.Caller = "spiffe://near.test/agent"
	for name, c := range map[string]struct {
		of   *Memory
		at   Place
		sum  Sum
		list policy.Digests
		want bool
	}{
		"what is listed":              {m, here, sum(9), listing(sum(9)), true},
		"what is named":               {m, here, layer, listing(manifest), true},
		"what is named by an index":   {m, here, layer, listing(index), true},
		"what is named three times":   {m, here, below, listing(index), true},
		"what names it is not listed": {m, here, layer, listing(sum(9)), false},
		"what names what is listed":   {m, here, index, listing(manifest, layer), false},
		"what another got":            {m, other, layer, listing(manifest), false},
		"an empty list":               {m, here, layer, listing(), false},
		"no memory":                   {nil, here, layer, listing(manifest), false},
		"no memory of what is listed": {nil, here, layer, listing(layer), true},
	} {
		if got := c.of.reaches(c.at, c.sum, c.list); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestForgets: what was noted is known for long, and not for ever.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		m.note(here, sum(1), []Sum{sum(2)})
		began := time.Now()
		for time.Since(began) < lasts {
			if !m.reaches(here, sum(2), listing(sum(1))) {
				t.Fatalf("forgotten after %v", time.Since(began))
			}
			<-time.After(lasts / 4)
			m.note(here, sum(3), []Sum{sum(4)})
		}
		<-time.After(2*lasts - time.Since(began))
		if m.reaches(here, sum(2), listing(sum(1))) {
			t.Errorf("known after %v", time.Since(began))
		}
		if !m.reaches(here, sum(4), listing(sum(3))) {
			t.Error("what was noted since is forgotten")
		}
		<-time.After(3 * lasts)
		if m.reaches(here, sum(4), listing(sum(3))) {
			t.Error("known though nothing was noted for long")
		}
	})
}

// TestMemoryIsBounded: of too much the oldest goes, and of manifests that name the same.
func TestMemoryIsBounded(t *testing.T) {
	m := NewMemory()
	for n := range maxBy + 1 {
		m.note(here, sum(n), []Sum{sum(1000)})
	}
	if m.reaches(here, sum(1000), listing(sum(0))) || !m.reaches(here, sum(1000), listing(sum(maxBy))) {
		t.Error("the oldest of those that name one is known, or the last is not")
	}
	for n := range 3 * maxNotes / maxNamed {
		named := make([]Sum, maxNamed)
		for i := range named {
			named[i] = sum(10_000 + n*maxNamed + i)
		}
		m.note(here, sum(5000+n), named)
		if !m.reaches(here, named[0], listing(sum(5000+n))) {
			t.Fatal("what was just noted is forgotten")
		}
		if held := m.now.n + m.before.n; held > 2*maxNotes {
			t.Fatalf("%d notes", held)
		}
	}
	if m.reaches(here, sum(1000), listing(sum(maxBy))) {
		t.Error("the oldest is known")
	}
}
