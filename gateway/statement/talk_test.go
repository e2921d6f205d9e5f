package statement

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestTalk(t *testing.T) {
	p, st := answered(t)
	all := []*crossingv1.Talk{
		{Claimed: &crossingv1.Claimed{Statement: st.Statement, Key: announce(t, p.near.signer, nearGateway)}},
		{Ask: &crossingv1.Ask{List: crossingv1.Ask_OPENED, Spans: []*crossingv1.Span{{From: 0, To: 9}}, Skip: []uint64{1}, Turn: 1, Claim: st.ClaimHash[:]}},
		{Told: &crossingv1.Told{Frames: [][]byte{{1}, {}}, Digests: [][]byte{make([]byte, 32)}, Going: []uint64{1}, Turn: 1, Claim: st.ClaimHash[:]}},
		{Refused: (&RefusedError{Why: "no", Code: crossingv1.Refused_LATER}).Message()},
		{Beat: &crossingv1.Beat{Heartbeat: p.near.signer.Heartbeat(heartbeat(nearGateway))}},
	}
	var b bytes.Buffer
	for _, talk := range all {
		if err := WriteTalk(&b, talk); err != nil {
			t.Fatal(err)
		}
	}
	r := iotest.OneByteReader(&b)
	for _, want := range all {
		if got, err := ReadTalk(r); err != nil || !proto.Equal(got, want) {
			t.Fatalf("ReadTalk = %v, %v; want %v", got, err, want)
		}
	}
	if _, err := ReadTalk(r); err != io.EOF { //nolint:errorlint // it is not wrapped
		t.Errorf("at the end: %v", err)
	}
}

func TestTalkRefused(t *testing.T) {
	long := func(n uint32, b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, n), b...) }
	two, err := proto.Marshal(&crossingv1.Talk{Ask: &crossingv1.Ask{}, Told: &crossingv1.Told{}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"a cut length":   {0, 0, 0},
		"a cut message":  long(5, []byte("abc")),
		"no message":     long(3, []byte("abc")),
		"nothing said":   long(0, nil),
		"two things":     long(uint32(len(two)), two),
		"too large":      long(MaxTalk+1, nil),
		"unknown fields": long(3, []byte{0xf8, 0x7f, 1}),
	} {
		if got, err := ReadTalk(bytes.NewReader(b)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if err := WriteTalk(io.Discard, &crossingv1.Talk{Told: &crossingv1.Told{Frames: [][]byte{make([]byte, MaxTalk)}}}); err == nil {
		t.Error("more is written than is read")
	}
	if err := WriteTalk(io.Discard, &crossingv1.Talk{Refused: &crossingv1.Refused{Why: "\xff"}}); err == nil {
		t.Error("a text that is none is written")
	}
}

// TestTellRefuses questions that are none, and tells no more than fits.
func TestTellRefuses(t *testing.T) {
	p := newPair(t)
	if _, err := p.egress.Tell(1, &crossingv1.Ask{List: crossingv1.Ask_OPENED, Turn: 1}, p.near.spool.read); err == nil {
		t.Error("told of no claim")
	}
	for range 20 {
		p.cross()
	}
	claim := must[*Stated](t)(Read(p.claim(false))).ClaimHash
	tell := func(a *crossingv1.Ask, frames Frames) (*crossingv1.Told, error) {
		a.Turn, a.Claim = 1, claim[:]
		return p.egress.Tell(1, a, frames)
	}
	many := make([]*crossingv1.Span, maxSpans+1)
	for at := range many {
		many[at] = &crossingv1.Span{To: 1}
	}
	span := func(from, to uint64) []*crossingv1.Span { return []*crossingv1.Span{{From: from, To: to}} }
	for name, a := range map[string]*crossingv1.Ask{
		"of no list":                 {},
		"of another list":            {List: 9},
		"an empty span":              {List: crossingv1.Ask_OPENED, Spans: span(3, 3)},
		"a span of backwards":        {List: crossingv1.Ask_OPENED, Spans: span(3, 2)},
		"a span beyond":              {List: crossingv1.Ask_OPENED, Spans: span(0, 21)},
		"a span beyond what is left": {List: crossingv1.Ask_OPENED, Spans: span(0, 20), Skip: []uint64{1}},
		"many spans":                 {List: crossingv1.Ask_CLOSED, Spans: many},
		"many numbers":               {List: crossingv1.Ask_CLOSED, Numbers: make([]uint64, maxNumbers+1)},
		"a number of no list":        {List: crossingv1.Ask_CLOSED, Numbers: []uint64{21}},
		"many to skip":               {List: crossingv1.Ask_CLOSED, Skip: make([]uint64, 21)},
		"skipping backwards":         {List: crossingv1.Ask_CLOSED, Skip: []uint64{1, 0}},
	} {
		if told, err := tell(a, p.near.spool.read); err == nil {
			t.Errorf("%s: told %v", name, told)
		}
	}
	numbers := []uint64{1, 2, 3, 20}
	big := func(uint64) ([]byte, error) { return make([]byte, maxTold/2), nil }
	told, err := tell(&crossingv1.Ask{List: crossingv1.Ask_OPENED, Numbers: numbers}, big)
	if err != nil || len(told.GetFrames()) != 2 {
		t.Errorf("%d large frames told, %v", len(told.GetFrames()), err)
	}
	told, err = tell(&crossingv1.Ask{List: crossingv1.Ask_OPENED, Numbers: numbers}, func(uint64) ([]byte, error) { return nil, errGone })
	if err != nil || len(told.GetFrames()) != 4 || len(told.GetFrames()[0]) > 0 {
		t.Errorf("frames that are gone: %v, %v", told, err)
	}
}

// TestToldRefused: what is no answer to a question ends the review, which can begin
// again.
func TestToldRefused(t *testing.T) {
	p := newPair(t)
	for range 20 {
		h := p.out()
		i := opening(testChain, ingressSide, h.GetKey().GetSequence())
		i.Source += "0"
		p.in(i)
	}
	claim := p.claim(false)
	sum := make([]byte, 32)
	digests := func(n int) [][]byte { return slicesRepeat(sum, n) }
	tests := []struct {
		name  string
		skips int // questions that are answered before
		told  *crossingv1.Told
	}{
		{"no digest", 0, &crossingv1.Told{}},
		{"a digest too few", 0, &crossingv1.Told{Digests: digests(7)}},
		{"a digest too many", 0, &crossingv1.Told{Digests: digests(9)}},
		{"short digests", 0, &crossingv1.Told{Digests: slicesRepeat(sum[1:], 8)}},
		{"a frame that nobody asked for", 0, &crossingv1.Told{Digests: digests(8), Frames: [][]byte{{}}}},
		{"no frame", 2, &crossingv1.Told{}},
		{"a frame too many", 2, &crossingv1.Told{Frames: make([][]byte, 21)}},
		{"a digest that nobody asked for", 2, &crossingv1.Told{Digests: digests(1), Frames: make([][]byte, 20)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := p.ingress.Review(claim, p.near.key, p.means(), p.now)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Drop()
			if r.Told(&crossingv1.Told{}) == nil {
				t.Fatal("told before it was asked")
			}
			for range tt.skips {
				p.turn(r)
			}
			ask := p.asked(r)
			if err := r.Told(answerTo(ask, tt.told)); err == nil || errors.As(err, new(*RefusedError)) {
				t.Errorf("Told: %v", err)
			}
		})
	}
	s, err := p.review(claim)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(numbersNamed(p.answered(s), crossingv1.Difference_OPENED_OTHERWISE)); n != 20 {
		t.Errorf("%d differ", n)
	}
}

// asked is the next question of a review.
func (p *pair) asked(r *Review) *crossingv1.Ask {
	p.t.Helper()
	step, err := r.Step(p.now)
	if err != nil || step.Ask == nil {
		p.t.Fatal(step, err)
	}
	return step.Ask
}

// turn is the next question of a review, and what it was told.
func (p *pair) turn(r *Review) *crossingv1.Told {
	p.t.Helper()
	ask := p.asked(r)
	told, err := p.egress.Tell(ask.GetTurn(), ask, p.near.spool.read)
	if err == nil {
		err = r.Told(told)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return told
}

// answerTo makes something told the answer to a question.
func answerTo(a *crossingv1.Ask, t *crossingv1.Told) *crossingv1.Told {
	t.Turn, t.Claim = a.GetTurn(), a.GetClaim()
	return t
}

func slicesRepeat(b []byte, n int) (all [][]byte) {
	for range n {
		all = append(all, b)
	}
	return all
}

// TestToldLies: frames that are not the egress gateway's, or not of the claim, are
// differences; digests that are not of the claim end it.
func TestToldLies(t *testing.T) {
	begin := func(t *testing.T, same bool) (*pair, *Review, Step) {
		p := newPair(t)
		h := p.out()
		i := opening(testChain, ingressSide, 1)
		if !same {
			i.Source += "0"
		}
		p.in(i)
		p.endOut(ending(h, done))
		p.endIn(ending(i, done))
		claim := p.claim(false)
		if same {
			c := proto.CloneOf(must[*Stated](t)(Read(claim)).Claim)
			c.Agreed.Opened = make([]byte, 32)
			claim = resigned(p, c, nil)
		}
		r, err := p.ingress.Review(claim, p.near.key, p.means(), p.now)
		if err != nil {
			t.Fatal(err)
		}
		ask := p.asked(r)
		made := must[*Stated](t)(Read(p.egress.Pending())).ClaimHash
		told, err := p.egress.Tell(1, &crossingv1.Ask{List: ask.GetList(), Spans: ask.GetSpans(), Turn: 1, Claim: made[:]}, p.near.spool.read)
		if err != nil || r.Told(answerTo(ask, told)) != nil {
			t.Fatal(err)
		}
		step, err := r.Step(p.now)
		if same {
			if err == nil || !strings.Contains(err.Error(), "not that of its parts") {
				t.Fatalf("%v, %v", step, err)
			}
			return p, r, step
		}
		if err != nil || len(step.Ask.GetNumbers()) != 1 {
			t.Fatal(step, err)
		}
		return p, r, step
	}
	begin(t, true)
	other := opening(testChain, egressSide, 2)
	encoder := newSpool(t, nearGateway, nearRun)
	another, _ := encoder.half(other)
	foreign := newSpool(t, farGateway, farRun)
	notTheirs, _ := foreign.half(opening(testChain, egressSide, 1))
	for name, tt := range map[string]struct {
		frame []byte
		kind  crossingv1.Difference_Kind
	}{
		"no frame":        {[]byte("x"), crossingv1.Difference_OPENED_OTHERWISE},
		"another number":  {another, crossingv1.Difference_OPENED_OTHERWISE},
		"another's frame": {notTheirs, crossingv1.Difference_OPENED_OTHERWISE},
		"none":            {nil, crossingv1.Difference_UNOPENED},
	} {
		t.Run(name, func(t *testing.T) {
			p, r, step := begin(t, false)
			if err := r.Told(answerTo(step.Ask, &crossingv1.Told{Frames: [][]byte{tt.frame}})); err != nil {
				t.Fatal(err)
			}
			step, err := r.Step(p.now)
			if err != nil || step.Answer == nil {
				t.Fatal(step, err)
			}
			st := must[*Stated](t)(Read(step.Answer))
			if got := numbersNamed(st, tt.kind); len(got) != 1 || got[0] != 1 {
				t.Errorf("answer %v", st.Answer)
			}
		})
	}
}
