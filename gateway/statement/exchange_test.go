package statement

import (
	"slices"
	"testing"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	egressSide  = crossingv1.Side_EGRESS
	ingressSide = crossingv1.Side_INGRESS
	done        = crossingv1.Cause_DONE
)

// TestExchangeOfTwoWhoAgree: nothing is asked, nothing differs, all is stated.
func TestExchangeOfTwoWhoAgree(t *testing.T) {
	p := newPair(t)
	for range 3 {
		for range 100 {
			p.cross()
		}
		if st := p.epoch(false); len(st.Answer.GetDifferences())+len(st.Deferred()) > 0 {
			t.Fatalf("answer %v", st.Answer)
		}
	}
	if p.asks > 0 {
		t.Errorf("%d questions", p.asks)
	}
	if n := len(p.near.spool.kept) + len(p.far.spool.kept); n > 0 {
		t.Errorf("%d frames are not stated", n)
	}
	if st := p.epoch(false); st != nil {
		t.Errorf("a claim of nothing: %v", st.Claim)
	}
	st := p.epoch(true)
	if !st.Claim.GetFinal() || !p.egress.Done() || !p.ingress.Done() {
		t.Errorf("the final claim %v ends nothing", st.Claim)
	}
	if p.claim(true) != nil {
		t.Error("a claim after the final one")
	}
}

// TestDifferences: each way in which two accounts can differ is named, with its
// fields, and nothing else is.
func TestDifferences(t *testing.T) {
	in := func(h *crossingv1.Half) *crossingv1.Half {
		return opening(testChain, ingressSide, h.GetKey().GetSequence())
	}
	both := func(p *pair, h, i *crossingv1.Half) {
		p.in(i)
		p.endOut(ending(h, done))
		p.endIn(ending(i, done))
	}
	tests := []struct {
		name   string
		run    func(p *pair)
		want   []crossingv1.Difference_Kind
		fields []string
	}{
		{"never came", func(p *pair) { p.endOut(ending(p.out(), crossingv1.Cause_PEER_LOST)) }, []crossingv1.Difference_Kind{crossingv1.Difference_UNSEEN}, nil},
		{"could not be recorded", func(p *pair) {
			h := p.out()
			p.ingress.Take(h.GetKey().GetSequence())
			p.ingress.Unrecorded(h.GetKey().GetSequence())
			p.endOut(ending(h, crossingv1.Cause_REFUSED_BY_PEER))
		}, []crossingv1.Difference_Kind{crossingv1.Difference_UNRECORDED}, nil},
		{"no record at egress", func(p *pair) {
			n := p.egress.Next()
			p.egress.Void(n)
			i := opening(testChain, ingressSide, n)
			p.in(i)
			p.endIn(ending(i, done))
		}, []crossingv1.Difference_Kind{crossingv1.Difference_UNOPENED}, nil},
		{"void at both", func(p *pair) { p.egress.Void(p.egress.Next()) }, nil, nil},
		{"another owner", func(p *pair) {
			h := p.out()
			i := in(h)
			i.Transition.Owner = "nobody"
			both(p, h, i)
		}, []crossingv1.Difference_Kind{crossingv1.Difference_OPENED_OTHERWISE}, []string{"transition.owner"}},
		{"other bytes and status", func(p *pair) {
			h := p.out()
			i := in(h)
			p.in(i)
			p.endOut(ending(h, done))
			c := ending(i, done)
			c.ResponseBytes, c.Status = 1, 500
			p.endIn(c)
		}, []crossingv1.Difference_Kind{crossingv1.Difference_ENDED_OTHERWISE}, []string{"responseBytes", "status"}},
		{"used twice", func(p *pair) { p.ingress.Reused(p.cross()) }, []crossingv1.Difference_Kind{crossingv1.Difference_REUSED}, nil},
		{"denied", func(p *pair) {
			h := p.out()
			i := in(h)
			i.End.Decision, i.End.Reason, i.Operation = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH, nil
			p.in(i)
			p.endIn(ending(i, crossingv1.Cause_REFUSED))
			p.endOut(ending(h, crossingv1.Cause_REFUSED_BY_PEER))
		}, []crossingv1.Difference_Kind{crossingv1.Difference_DENIED}, nil},
		{"denied, and ended as if it had not been", func(p *pair) {
			h := p.out()
			i := in(h)
			i.End.Decision, i.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH
			p.in(i)
			p.endIn(ending(i, crossingv1.Cause_REFUSED))
			p.endOut(ending(h, crossingv1.Cause_DESTINATION_FAILED))
		}, []crossingv1.Difference_Kind{crossingv1.Difference_ENDED_OTHERWISE, crossingv1.Difference_DENIED}, []string{"decision"}},
		{"the caller left", func(p *pair) {
			h := p.out()
			i := in(h)
			p.in(i)
			p.endOut(ending(h, crossingv1.Cause_CALLER_GONE))
			p.endIn(ending(i, done))
		}, []crossingv1.Difference_Kind{crossingv1.Difference_BROKEN_OFF}, nil},
		{"done at egress alone", func(p *pair) {
			h := p.out()
			i := in(h)
			p.in(i)
			p.endOut(ending(h, done))
			p.endIn(ending(i, crossingv1.Cause_DESTINATION_FAILED))
		}, []crossingv1.Difference_Kind{crossingv1.Difference_ENDED_OTHERWISE}, []string{"close"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t)
			for range 20 {
				p.cross()
			}
			tt.run(p)
			n := p.egress.counter.Load()
			for range 20 {
				p.cross()
			}
			st := p.epoch(false)
			var got []crossingv1.Difference_Kind
			for _, d := range st.Answer.GetDifferences() {
				if numbers := Numbers(d); !slices.Equal(numbers, []uint64{n}) {
					t.Errorf("%s of %v, want %d", d.GetKind(), numbers, n)
				}
				got = append(got, d.GetKind())
			}
			if !slices.Equal(got, tt.want) {
				t.Fatalf("answer names %v, want %v", got, tt.want)
			}
			if len(got) > 0 && !slices.Equal(fieldsOf(st, got[0], n), tt.fields) {
				t.Errorf("fields %v, want %v", fieldsOf(st, got[0], n), tt.fields)
			}
			if left := len(p.near.spool.kept) + len(p.far.spool.kept); left > 0 {
				t.Errorf("%d frames are not stated", left)
			}
			if st := p.epoch(true); len(st.Answer.GetDifferences()) > 0 || !p.ingress.Done() {
				t.Errorf("the final answer %v", st.Answer)
			}
		})
	}
}
