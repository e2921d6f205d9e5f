package statement

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// FuzzRead: whatever is read has numbers that rise and fit, and says the same when it
// is encoded again.
func FuzzRead(f *testing.F) {
	_, st := answered(f)
	f.Add(st.Statement.GetClaim(), st.Statement.GetAnswer())
	f.Add(st.Statement.GetClaim(), []byte(nil))
	f.Fuzz(func(t *testing.T, claim, answer []byte) {
		s := &crossingv1.Statement{Claim: claim, Egress: st.Statement.Egress}
		if len(answer) > 0 {
			s.Answer, s.Ingress = answer, st.Statement.Ingress
		}
		got, err := Read(s)
		if err != nil {
			return
		}
		c := got.Claim
		if c.GetNext()-c.GetFirst() > MaxOpened || len(got.Closed()) > MaxClosed || len(got.Voids()) > MaxOpened {
			t.Fatalf("a claim without bounds: %v", c)
		}
		for _, numbers := range [][]uint64{got.Voids(), got.Closed(), got.Deferred()} {
			if !slices.IsSorted(numbers) || len(slices.Compact(slices.Clone(numbers))) != len(numbers) || !below(numbers, c.GetNext()) {
				t.Fatalf("numbers %v of a claim up to %d", numbers, c.GetNext())
			}
		}
		if !slices.Equal(distances(got.Voids(), c.GetFirst()), c.GetVoids()) || !slices.Equal(distances(got.Closed(), 0), c.GetClosed()) {
			t.Fatal("numbers are coded otherwise")
		}
		for _, d := range got.Answer.GetDifferences() {
			if len(Numbers(d)) == 0 {
				t.Fatalf("a difference of nothing: %v", d)
			}
		}
		if again, err := Read(&crossingv1.Statement{Claim: encode(c), Egress: s.Egress}); err != nil || !proto.Equal(again.Claim, c) {
			t.Fatalf("encoded again, it is %v, %v", again, err)
		}
		Follow(got.Chain).Add(got)
	})
}

// FuzzTalk: whatever is read is written and read again as the same.
func FuzzTalk(f *testing.F) {
	p, st := answered(f)
	for _, talk := range []*crossingv1.Talk{
		{Claimed: &crossingv1.Claimed{Statement: st.Statement, Key: announce(f, p.near.signer, nearGateway)}},
		{Ask: &crossingv1.Ask{List: crossingv1.Ask_GOING, Turn: 1, Claim: st.ClaimHash[:]}},
		{Told: &crossingv1.Told{Frames: [][]byte{{1}}, Turn: 2, Claim: st.ClaimHash[:]}},
	} {
		var b bytes.Buffer
		if err := WriteTalk(&b, talk); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		talk, err := ReadTalk(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteTalk(&b, talk); err != nil {
			t.Skip("a longer encoding than it came in")
		}
		if again, err := ReadTalk(&b); err != nil || !proto.Equal(again, talk) {
			t.Fatalf("read again, it is %v, %v", again, err)
		}
	})
}

// FuzzTell: no question makes an egress gateway tell more than was asked, or fail in
// another way than by saying so.
func FuzzTell(f *testing.F) {
	p := newPair(f)
	for range 40 {
		p.cross()
	}
	claim := must[*Stated](f)(Read(p.claim(false))).ClaimHash
	const turn = 3
	for _, a := range []*crossingv1.Ask{
		{List: crossingv1.Ask_OPENED, Spans: []*crossingv1.Span{{To: 40}}, Skip: []uint64{3, 4}, Numbers: []uint64{40}, Turn: turn, Claim: claim[:]},
		{List: crossingv1.Ask_GOING, Turn: turn, Claim: claim[:]},
		{List: crossingv1.Ask_GOING, Turn: turn + 1, Claim: claim[:]},
		{List: crossingv1.Ask_GOING, Turn: turn, Claim: claim[1:]},
	} {
		f.Add(encode(a))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := new(crossingv1.Ask)
		if decode(data, a) != nil {
			return
		}
		told, err := p.egress.Tell(turn, a, p.near.spool.read)
		switch {
		case err != nil:
		case len(told.GetDigests()) > fanOut*len(a.GetSpans()) || len(told.GetFrames()) > len(a.GetNumbers()):
			t.Fatalf("asked %v, told %v", a, told)
		case a.GetTurn() != turn || told.GetTurn() != turn || Hash(told.GetClaim()) != claim:
			t.Fatalf("asked %v in turn %d, told %v", a, turn, told)
		}
	})
}

// FuzzTold: whatever an egress gateway tells, a review ends, with an answer or without
// one, and the honest one comes to the right answer after it. What is of another turn
// than the question, or of another claim, is never taken.
func FuzzTold(f *testing.F) {
	frame, _ := newSpool(f, nearGateway, nearRun).half(opening(testChain, egressSide, 2))
	digests, frames := &crossingv1.Told{Digests: slicesRepeat(make([]byte, 32), 3), Turn: 1}, &crossingv1.Told{Frames: [][]byte{frame, {}, frame}, Turn: 2}
	f.Add(encode(digests), encode(frames), true)
	f.Add(encode(digests), encode(digests), true)
	f.Add(encode(frames), encode(digests), true)
	f.Add(encode(digests), encode(frames), false)
	f.Add(encode(&crossingv1.Told{Going: []uint64{1, 2}, Turn: 1}), []byte{}, true)
	f.Fuzz(func(t *testing.T, first, second []byte, ofClaim bool) {
		p := newPair(t)
		for n := range uint64(3) {
			p.out()
			i := opening(testChain, ingressSide, n+1)
			i.Source += "0"
			p.in(i)
		}
		claim := p.claim(false)
		r, err := p.ingress.Review(claim, p.near.key, p.means(), p.now)
		if err != nil {
			t.Fatal(err)
		}
		steps := uint32(0)
		for _, data := range [][]byte{first, second} {
			step, err := r.Step(p.now)
			if err != nil || step.Answer != nil {
				break
			}
			told := new(crossingv1.Told)
			if decode(data, told) != nil {
				break
			}
			if ofClaim { // which nobody would guess
				told.Claim = step.Ask.GetClaim()
			}
			if r.Told(told) != nil {
				break
			}
			if steps++; told.GetTurn() != steps || !bytes.Equal(told.GetClaim(), step.Ask.GetClaim()) {
				t.Fatalf("asked %v, it takes %v", step.Ask, told)
			}
		}
		r.Drop()
		s, err := p.review(claim)
		if err != nil {
			t.Fatal(err)
		}
		if st := p.answered(s); len(numbersNamed(st, crossingv1.Difference_OPENED_OTHERWISE)) != 3 {
			t.Fatalf("after %d steps, answer %v", steps, st.Answer)
		}
	})
}

// FuzzReview: whatever a peer claims and signs, an ingress gateway refuses it or comes
// to an answer that can be read, and its account stays whole.
func FuzzReview(f *testing.F) {
	p, st := answered(f)
	next := proto.CloneOf(st.Claim)
	next.Epoch, next.Previous, next.Answered, next.Voids, next.Closed = 3, st.ClaimHash[:], nil, nil, nil
	next.First, next.Next, next.Resumed = st.Claim.GetNext(), st.Claim.GetNext()+70, true
	f.Add(encode(next))
	next.Final, next.Closed, next.Resumed = true, []uint64{2, 1}, false
	f.Add(encode(next))
	next.Epoch, next.First, next.Next = 1<<40, 1<<40, 1<<40+1
	f.Add(encode(next))
	state := p.ingress.State()
	f.Fuzz(func(t *testing.T, data []byte) {
		c := new(crossingv1.Claim)
		if decode(data, c) != nil {
			return
		}
		i := must[*Ingress](t)(RestoreIngress(state))
		h := opening(testChain, ingressSide, st.Claim.GetNext()+2)
		frame, at := newSpool(t, farGateway, farRun).half(h)
		i.Take(h.GetKey().GetSequence())
		i.Opened(h, frame, at)
		r, err := i.Review(resigned(p, c, nil), p.near.key, p.means(), p.now)
		if err != nil {
			return
		}
		defer r.Drop()
		for now := p.now; ; {
			step, err := r.Step(now)
			switch {
			case err != nil:
				return
			case step.Ask.GetList() == crossingv1.Ask_GOING:
				err = r.Told(answerTo(step.Ask, &crossingv1.Told{Going: []uint64{1}}))
			case step.Ask != nil:
				told := answerTo(step.Ask, &crossingv1.Told{Frames: make([][]byte, len(step.Ask.GetNumbers()))})
				for _, s := range step.Ask.GetSpans() {
					told.Digests = append(told.Digests, slicesRepeat(make([]byte, 32), len(parts(s.GetFrom(), s.GetTo())))...)
				}
				err = r.Told(told)
			case step.Answer != nil:
				r.Commit()
				must[*Ingress](t)(RestoreIngress(i.State()))
				return
			default:
				now = step.Wait.Add(time.Millisecond)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzKeys: no announcement and no heartbeat does more than be refused.
func FuzzKeys(f *testing.F) {
	s := NewSigner()
	k := s.Key(nearGateway, nearRun)
	f.Add(encode(announce(f, s, nearGateway)), encode(s.Heartbeat(heartbeat(nearGateway))))
	f.Fuzz(func(t *testing.T, announcement, beat []byte) {
		a, h := new(crossingv1.Announcement), new(crossingv1.SignedHeartbeat)
		if decode(announcement, a) == nil {
			if got, err := VerifyAnnouncement(a, nearGateway, trusted); err == nil && got.Gateway != nearGateway {
				t.Fatal("a key of another gateway")
			}
		}
		if decode(beat, h) == nil {
			if got, err := VerifyHeartbeat(h, k); err == nil && got.GetGateway() != nearGateway {
				t.Fatal("a heartbeat of another gateway")
			}
		}
	})
}
