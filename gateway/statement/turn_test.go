package statement

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// differing is a claim on crossings of which the openings differ and the ends do not,
// so that there are several turns about the openings.
func (p *pair) differing(n int) *crossingv1.Statement {
	for range n {
		h := p.out()
		i := opening(testChain, ingressSide, h.GetKey().GetSequence())
		i.Source += "0"
		p.in(i)
		p.endOut(ending(h, done))
		p.endIn(ending(i, done))
	}
	return p.claim(false)
}

// TestTurns: the questions of each exchange are counted from 1, are about the claim,
// and what is told says both again.
func TestTurns(t *testing.T) {
	p := newPair(t)
	claim := p.differing(20)
	hash := must[*Stated](t)(Read(claim)).ClaimHash
	for range 2 { // the first one breaks off
		r := must[*Review](t)(p.ingress.Review(claim, p.near.key, p.means(), p.now))
		for turn := uint32(1); turn <= 3; turn++ {
			if told := p.turn(r); told.GetTurn() != turn || Hash(told.GetClaim()) != hash {
				t.Errorf("told %d of %x in turn %d of %s", told.GetTurn(), told.GetClaim(), turn, hash)
			}
		}
		r.Drop()
	}
}

// TestAskedOutOfTurn: an egress gateway answers each question once, in turn, and only
// about the claim that is outstanding.
func TestAskedOutOfTurn(t *testing.T) {
	p := newPair(t)
	claim := must[*Stated](t)(Read(p.differing(20))).ClaimHash
	before := claim
	before[0] ^= 1
	for name, tt := range map[string]struct {
		turn  uint32
		claim []byte
	}{
		"the question before, again": {2, claim[:]},
		"one that was left out":      {4, claim[:]},
		"no turn":                    {0, claim[:]},
		"of another claim":           {3, before[:]},
		"of half a claim":            {3, claim[:16]},
		"of no claim":                {3, nil},
	} {
		for _, list := range []crossingv1.Ask_List{crossingv1.Ask_OPENED, crossingv1.Ask_GOING} {
			if told, err := p.egress.Tell(3, &crossingv1.Ask{List: list, Turn: tt.turn, Claim: tt.claim}, p.near.spool.read); err == nil {
				t.Errorf("%s: told %v of %s", name, told, list)
			}
		}
	}
	if _, err := p.egress.Tell(3, &crossingv1.Ask{List: crossingv1.Ask_OPENED, Turn: 3, Claim: claim[:]}, p.near.spool.read); err != nil {
		t.Error(err)
	}
}

// TestToldOutOfTurn: what was told to another question is not taken, well formed or not,
// and names nothing: the claim is reviewed again as if it had not come.
func TestToldOutOfTurn(t *testing.T) {
	p := newPair(t)
	claim := p.differing(1)
	tests := []struct {
		name string
		told func(before, now *crossingv1.Told) *crossingv1.Told
	}{
		{"what was told before, again", func(before, _ *crossingv1.Told) *crossingv1.Told { return before }},
		{"what comes later", func(_, now *crossingv1.Told) *crossingv1.Told { now.Turn++; return now }},
		{"no turn", func(_, now *crossingv1.Told) *crossingv1.Told { now.Turn = 0; return now }},
		{"of another claim", func(_, now *crossingv1.Told) *crossingv1.Told { now.Claim[0] ^= 1; return now }},
		{"of no claim", func(_, now *crossingv1.Told) *crossingv1.Told { now.Claim = nil; return now }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := must[*Review](t)(p.ingress.Review(claim, p.near.key, p.means(), p.now))
			defer r.Drop()
			before := p.turn(r)
			ask := p.asked(r)
			now := overWire(t, must[*crossingv1.Told](t)(p.egress.Tell(ask.GetTurn(), ask, p.near.spool.read)))
			err := r.Told(tt.told(proto.CloneOf(before), proto.CloneOf(now)))
			if err == nil || errors.As(err, new(*RefusedError)) {
				t.Fatalf("Told: %v", err)
			}
		})
	}
	t.Run("the same twice", func(t *testing.T) {
		r := must[*Review](t)(p.ingress.Review(claim, p.near.key, p.means(), p.now))
		defer r.Drop()
		if told := p.turn(r); r.Told(told) == nil {
			t.Error("one question is answered twice")
		}
	})
	st := p.answered(must[*crossingv1.Statement](t)(p.review(claim)))
	if len(st.Answer.GetDifferences()) != 1 || !slices.Equal(numbersNamed(st, crossingv1.Difference_OPENED_OTHERWISE), []uint64{1}) {
		t.Errorf("answer %v", st.Answer)
	}
}

// TestToldOfOtherFrames: frames that were told to another question of as many numbers
// name nothing. But for the turn, they would be taken for others than were claimed.
func TestToldOfOtherFrames(t *testing.T) {
	p := newPair(t)
	claim := p.differing(2 * maxNumbers)
	r := must[*Review](t)(p.ingress.Review(claim, p.near.key, p.means(), p.now))
	defer r.Drop()
	var before *crossingv1.Told
	for len(before.GetFrames()) == 0 {
		before = p.turn(r)
	}
	if ask := p.asked(r); len(ask.GetNumbers()) != len(before.GetFrames()) {
		t.Fatalf("%d numbers after %d frames", len(ask.GetNumbers()), len(before.GetFrames()))
	}
	if err := r.Told(before); err == nil {
		t.Error("the frames of other numbers are taken")
	}
}
