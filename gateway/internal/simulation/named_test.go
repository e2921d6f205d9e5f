package simulation

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// place is a number of a chain.
type place struct {
	chain  statement.Chain
	number uint64
}

// name is one thing that is said of a number.
type name struct {
	what  string // a kind of difference, or what the control plane finds
	epoch uint64
	at    time.Time // by the egress gateway's clock
}

func (n name) String() string { return fmt.Sprintf("%s in epoch %d", n.what, n.epoch) }

// What a number is named as beside the kinds of differences.
const (
	alone   = "ALONE"   // the claim on it was not answered
	missing = "MISSING" // it is stated, and a gateway did not deliver the frame
	altered = "ALTERED" // it is in an epoch of which a gateway delivered other frames than it stated
	// is in an epoch of which not all frames are here: nobody can hold the others
	// against its root.
	unproven = "UNPROVEN"
	strange  = "STRANGE" // it was delivered, and is in no statement
)

// names are all that is named of numbers.
type names map[place][]name

func (n names) add(c statement.Chain, number uint64, what name) {
	at := place{c, number}
	if !slices.Contains(n[at], what) {
		n[at] = append(n[at], what)
	}
}

// has says that a number is named as one of those.
func (n names) has(at place, what ...string) bool {
	return slices.ContainsFunc(n[at], func(is name) bool { return slices.Contains(what, is.what) })
}

// collect collects what statements name, and what the control plane finds when it holds
// frames against them. The caller holds the control plane's mu.
func (c *control) collect() names {
	all := names{}
	for chain, k := range c.chains {
		absent := map[uint64]bool{}
		covered := map[uint64]bool{}
		for _, s := range k.epochs() {
			c.collectEpoch(all, chain, k, s, absent)
			for n := s.Claim.GetFirst(); n < s.Claim.GetNext(); n++ {
				covered[n] = true
			}
		}
		for _, side := range k.leaves {
			for _, leaves := range side {
				for n := range leaves {
					if !covered[n] {
						all.add(chain, n, name{what: strange})
					}
				}
			}
		}
	}
	for _, f := range c.findings {
		for _, n := range f.numbers {
			if f.what == "conflict" {
				all.add(f.chain, n, name{what: "CONFLICT"})
			}
		}
	}
	return all
}

// epochs are the statements of a chain, one for each epoch: one that was answered if there is one.
func (k *kept) epochs() (all []*statement.Stated) {
	by := map[uint64]*statement.Stated{}
	for _, s := range k.statements {
		epoch := s.Claim.GetEpoch()
		if was := by[epoch]; was == nil || was.Answer == nil && s.Answer != nil {
			by[epoch] = s
		}
	}
	for _, s := range by {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *statement.Stated) int { return int(a.Claim.GetEpoch()) - int(b.Claim.GetEpoch()) })
	return all
}

func (c *control) collectEpoch(all names, chain statement.Chain, k *kept, s *statement.Stated, absent map[uint64]bool) {
	is := func(what string) name { return name{what, s.Claim.GetEpoch(), s.Claim.GetAt().AsTime()} }
	if s.Answer == nil && chain.Ingress != "" {
		for n := s.Claim.GetFirst(); n < s.Claim.GetNext(); n++ {
			all.add(chain, n, is(alone))
		}
		for _, n := range s.Closed() {
			all.add(chain, n, is(alone))
		}
	}
	unended := map[uint64]bool{}
	for _, d := range s.Answer.GetDifferences() {
		for _, n := range statement.Numbers(d) {
			all.add(chain, n, is(d.GetKind().String()))
			switch d.GetKind() {
			case crossingv1.Difference_UNSEEN, crossingv1.Difference_UNRECORDED:
				absent[n] = true
			case crossingv1.Difference_UNENDED:
				unended[n] = true
			}
		}
	}
	c.holdEpoch(all, chain, k, s, absent, unended)
}

// holdEpoch holds frames against the statement of an epoch.
func (c *control) holdEpoch(all names, chain statement.Chain, k *kept, s *statement.Stated, absent, unended map[uint64]bool) {
	is := func(what string) name { return name{what, s.Claim.GetEpoch(), s.Claim.GetAt().AsTime()} }
	var opened []uint64
	for n := s.Claim.GetFirst(); n < s.Claim.GetNext(); n++ {
		opened = append(opened, n)
	}
	lists := [2][]uint64{opened, s.Closed()}
	for side := range k.leaves {
		roots := s.Claim.GetRoots()
		if side == 1 {
			roots = s.Answer.GetRoots()
		}
		if roots == nil {
			continue
		}
		for piece, numbers := range lists {
			var leaves []statement.Hash
			whole := true
			for _, n := range numbers {
				none := piece == 0 && slices.Contains(s.Voids(), n) || side == 1 && (absent[n] || piece == 1 && (unended[n] || slices.Contains(s.Deferred(), n)))
				leaf, there := k.leaves[side][piece][n]
				if !there {
					leaf = statement.Leaf(nil)
				}
				if none && piece == 1 {
					leaf = statement.Leaf(nil)
				}
				if !there && !none {
					whole = false
					all.add(chain, n, is(missing))
				}
				leaves = append(leaves, leaf)
			}
			want := [2][]byte{roots.GetOpened(), roots.GetClosed()}[piece]
			for _, n := range numbers {
				if !whole {
					all.add(chain, n, is(unproven))
				}
			}
			if root := statement.Root(leaves); whole && !bytes.Equal(root[:], want) {
				for _, n := range numbers {
					all.add(chain, n, is(altered))
				}
			}
		}
	}
}

// log says what every chain came to, for people.
func (c *control) log(logf func(string, ...any)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for chain, k := range c.chains {
		logf("chain %.8s %s>%s", chain.Run, short(chain.Egress), short(chain.Ingress))
		for _, s := range k.epochs() {
			logf("  epoch %d at %s: [%d,%d) voids %v closed %v final %t resumed %t", s.Claim.GetEpoch(), s.Claim.GetAt().AsTime().Format(time.TimeOnly),
				s.Claim.GetFirst(), s.Claim.GetNext(), s.Voids(), s.Closed(), s.Claim.GetFinal(), s.Claim.GetResumed())
			if s.Answer != nil {
				logf("    answered at %s, missed %d, forgot %t, deferred %v", s.Answer.GetAt().AsTime().Format(time.TimeOnly), s.Answer.GetMissed(), s.Answer.GetForgot(), s.Deferred())
			}
			for _, d := range s.Answer.GetDifferences() {
				logf("    %s %v %v", d.GetKind(), d.GetFields(), statement.Numbers(d))
			}
		}
	}
	for _, f := range c.findings {
		logf("found: %s", f)
	}
}
