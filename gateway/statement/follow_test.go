package statement

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// told are the findings of statements in that order.
func told(f *Follower, statements []*Stated) map[string]int {
	found := map[string]int{}
	for _, s := range statements {
		for _, one := range f.Add(s) {
			text := fmt.Sprintf("%s in %d", one.Fault, one.Epoch)
			if one.Difference != nil {
				text += fmt.Sprintf(" %s %v", one.Difference.Kind, one.Difference.Numbers)
			}
			if one.Missed > 0 {
				text += fmt.Sprintf(" %d", one.Missed)
			}
			found[text]++
		}
	}
	return found
}

func (s *Stated) unanswered(t testing.TB) *Stated {
	t.Helper()
	return must[*Stated](t)(Read(&crossingv1.Statement{Claim: s.Statement.Claim, Egress: s.Statement.Egress}))
}

// history is a chain of claims of one crossing each, changed as they are made.
func history(t testing.TB, epochs int, change func(epoch int, c *crossingv1.Claim)) []*Stated {
	t.Helper()
	p := newPair(t)
	p.cross()
	first := p.epoch(false)
	var all []*Stated
	before := first
	for epoch := 2; epoch <= epochs+1; epoch++ {
		c := proto.CloneOf(first.Claim)
		c.Epoch, c.Previous, c.Answered = uint64(epoch), before.ClaimHash[:], before.AnswerHash[:]
		c.First, c.Closed = before.Claim.GetNext(), []uint64{before.Claim.GetNext()}
		c.Next = c.First + 1
		change(epoch, c)
		all = append(all, must[*Stated](t)(Read(resigned(p, c, proto.CloneOf(first.Answer)))))
		before = all[len(all)-1]
	}
	return append([]*Stated{first}, all...)
}

// TestFollow: each fault is found, once, whatever the order in which statements come
// from either gateway and how often.
func TestFollow(t *testing.T) {
	none := func(int, *crossingv1.Claim) {}
	tests := []struct {
		name string
		make func(t *testing.T) []*Stated
		want map[string]int
	}{
		{"nothing", func(t *testing.T) []*Stated { return history(t, 4, none) }, map[string]int{}},
		{"two claims of an epoch", func(t *testing.T) []*Stated {
			all := history(t, 4, none)
			c := proto.CloneOf(all[2].Claim)
			c.Open = 7
			return append(all, must[*Stated](t)(Read(resigned(newPair(t), c, nil))))
		}, map[string]int{"forked in 3": 1}},
		{"two answers to a claim", func(t *testing.T) []*Stated {
			all := history(t, 4, none)
			a := proto.CloneOf(all[2].Answer)
			a.Run = nearRun
			return append(all, must[*Stated](t)(Read(resigned(newPair(t), all[2].Claim, a))))
		}, map[string]int{"forked in 3": 1}},
		{"another claim before", func(t *testing.T) []*Stated {
			return history(t, 4, func(epoch int, c *crossingv1.Claim) {
				if epoch == 4 {
					c.Previous = make([]byte, 32)
				}
			})
		}, map[string]int{"broken link in 4": 1}},
		{"another answer before", func(t *testing.T) []*Stated {
			return history(t, 4, func(epoch int, c *crossingv1.Claim) {
				if epoch == 4 {
					c.Answered = make([]byte, 32)
				}
			})
		}, map[string]int{"broken link in 4": 1}},
		{"numbers left out", func(t *testing.T) []*Stated {
			return history(t, 4, func(epoch int, c *crossingv1.Claim) {
				if epoch == 3 {
					c.First, c.Next = c.First+5, c.Next+5
				}
			})
		}, map[string]int{"gap in 3": 1}},
		{"an answer that was not heard", func(t *testing.T) []*Stated {
			return history(t, 4, func(epoch int, c *crossingv1.Claim) {
				if epoch == 3 {
					c.Answered = nil
				}
			})
		}, map[string]int{}},
		{"resumed", func(t *testing.T) []*Stated {
			return history(t, 4, func(epoch int, c *crossingv1.Claim) { c.Resumed = epoch == 3 })
		}, map[string]int{"resumed in 3": 1}},
		{"after a final claim", func(t *testing.T) []*Stated {
			return history(t, 2, func(epoch int, c *crossingv1.Claim) { c.Final = epoch == 2 })
		}, map[string]int{"after the final claim in 3": 1}},
		{"forgotten, missed and different", func(t *testing.T) []*Stated {
			all := history(t, 2, none)
			a := proto.CloneOf(all[2].Answer)
			a.Forgot, a.Missed = true, 2
			a.Differences = []*crossingv1.Difference{{Kind: crossingv1.Difference_UNSEEN, Numbers: []uint64{3, 1}}}
			all[2] = must[*Stated](t)(Read(resigned(newPair(t), all[2].Claim, a)))
			return all
		}, map[string]int{"forgot in 3": 1, "missed in 3 2": 1, "differs in 3 UNSEEN [3 4]": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := tt.make(t)
			random := rand.New(rand.NewPCG(1, 2))
			for range 30 {
				var order []*Stated
				for _, s := range all { // the egress gateway's claim, either one's whole statement
					order = append(order, s, s.unanswered(t), s)
				}
				random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				f := Follow(testChain)
				got := told(f, order)
				if tt.want["forked in 3"] > 0 { // what came first may not have been what was linked
					delete(got, "broken link in 4")
				}
				if !maps.Equal(got, tt.want) {
					t.Fatalf("found %v, want %v", got, tt.want)
				}
				if got := f.Missing(10); len(got) > 0 {
					t.Fatalf("missing %v", got)
				}
				if want := all[len(all)-1].Claim.GetEpoch(); want > f.Last().Claim.GetEpoch() {
					t.Fatalf("the last is %d, want %d", f.Last().Claim.GetEpoch(), want)
				}
			}
		})
	}
}

func TestFollowerForgets(t *testing.T) {
	all := history(t, 9, func(int, *crossingv1.Claim) {})
	f := Follow(testChain)
	if f.Last() != nil || f.Missing(1) != nil {
		t.Error("something is known")
	}
	told(f, []*Stated{all[1], all[6], all[8]})
	if got := f.Missing(10); !slices.Equal(got, []uint64{1, 3, 4, 5, 6, 8}) {
		t.Errorf("missing %v", got)
	}
	if got := f.Missing(2); !slices.Equal(got, []uint64{1, 3}) {
		t.Errorf("the first two missing are %v", got)
	}
	f.Forget(7)
	if got := f.Missing(10); !slices.Equal(got, []uint64{8}) {
		t.Errorf("missing %v after what was before 7 is forgotten", got)
	}
	if found := told(f, all); len(found) > 0 || len(f.epochs) != 4 {
		t.Errorf("found %v, %d epochs known", found, len(f.epochs))
	}
	other := Follow(Chain{Egress: farGateway, Ingress: nearGateway, Run: nearRun})
	if found := other.Add(all[0]); len(found) > 0 || other.Last() != nil {
		t.Error("a statement of another chain is followed")
	}
}

// TestFollowerIsBounded: one who signs many claims of one epoch is found, and kept
// few of.
func TestFollowerIsBounded(t *testing.T) {
	p, st := answered(t)
	f := Follow(testChain)
	forks := 0
	for n := range 50 {
		c := proto.CloneOf(st.Claim)
		c.Open = uint64(n)
		a := proto.CloneOf(st.Answer)
		forks += len(f.Add(must[*Stated](t)(Read(resigned(p, c, a)))))
	}
	if len(f.epochs[2]) != maxVariants || forks < maxVariants {
		t.Errorf("%d claims kept, %d findings", len(f.epochs[2]), forks)
	}
}

func TestFaultNames(t *testing.T) {
	for f := Forked; f <= AfterFinal; f++ {
		if f.String() == "" || f.String() == Fault(0).String() {
			t.Errorf("fault %d has no name", f)
		}
	}
	if Fault(99).String() != "no fault" || Faulty(crossingv1.Difference_DENIED) || !Faulty(crossingv1.Difference_UNSEEN) {
		t.Error("what is a fault is not told from what is none")
	}
}
