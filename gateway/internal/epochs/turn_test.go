package epochs

import (
	"crypto/sha256"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// teller is a chain of the near gateway's that a test tells of, with one crossing of
// which the far gateway has seen another source.
type teller struct {
	*world
	book  *statement.Egress
	claim *crossingv1.Claimed
}

func (w *world) teller() *teller {
	w.t.Helper()
	chain := w.chain()
	l := &teller{world: w, book: statement.NewEgress(chain, time.Now())}
	n, id := l.book.Next(), crossing.NewID(time.Now())
	near, far := w.near.half(n, id, crossingv1.Side_EGRESS), w.far.half(n, id, crossingv1.Side_INGRESS)
	for _, h := range []*crossingv1.Half{near, far} { // as whole as is held of a frame that is told
		h.Key.Run, h.End.Policy.Revision = chain.Run, "sha256:"+strings.Repeat("07", 32)
	}
	far.Source += "0"
	b, at, err := w.near.write(&crossingv1.Frame{Open: near}, chain.Run)
	if err != nil {
		w.t.Fatal(err)
	}
	w.near.hold(at)
	l.book.Opened(near, b, at)
	if !w.far.keeper.Take(chain.Egress, chain.Run, n) {
		w.t.Fatal("the crossing is not taken")
	}
	w.far.open(far)
	s := l.book.Cut(statement.Facts{Now: time.Now()}, w.near.keeper.keys.signer)
	l.claim = &crossingv1.Claimed{Statement: s, Key: w.near.key()}
	return l
}

// tell says the claim and what change makes of what is told to each question, and gives
// the last thing that the far gateway says; nil if the stream just ends.
func (l *teller) tell(change func(told []*crossingv1.Told) []*crossingv1.Told) *crossingv1.Talk {
	l.t.Helper()
	s := l.dial(l.near.id)
	if err := statement.WriteTalk(s, claimed(l.claim)); err != nil {
		l.t.Fatal(err)
	}
	var all []*crossingv1.Told
	for {
		talk, err := statement.ReadTalk(s)
		if err != nil || talk.GetAsk() == nil {
			s.CloseWrite()
			io.Copy(io.Discard, s)
			return talk
		}
		told, err := l.book.Tell(uint32(len(all)+1), talk.GetAsk(), l.near.Frame)
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, told)
		said := make([]*crossingv1.Told, 0, len(all))
		for _, t := range all {
			said = append(said, proto.CloneOf(t))
		}
		go func() { // who refuses the first one reads no second one
			for _, t := range change(said) {
				statement.WriteTalk(s, &crossingv1.Talk{Told: t})
			}
		}()
	}
}

// TestToldOutOfTurn: what is told to another question than the one that is out ends the
// exchange, is counted as the sender's, and nothing is stated of it. The claim is then
// asked about again, and what differs is named, and nothing else.
func TestToldOutOfTurn(t *testing.T) {
	last := func(all []*crossingv1.Told) *crossingv1.Told { return all[len(all)-1] }
	honest := func(all []*crossingv1.Told) []*crossingv1.Told { return all[len(all)-1:] }
	for name, change := range map[string]func(all []*crossingv1.Told) []*crossingv1.Told{
		"what was told before, again": func(all []*crossingv1.Told) []*crossingv1.Told { return all[:1] },
		"each twice":                  func(all []*crossingv1.Told) []*crossingv1.Told { return []*crossingv1.Told{last(all), last(all)} },
		"the next one's first":        func(all []*crossingv1.Told) []*crossingv1.Told { last(all).Turn++; return honest(all) },
		"without a turn":              func(all []*crossingv1.Told) []*crossingv1.Told { last(all).Turn = 0; return honest(all) },
		"of another claim":            func(all []*crossingv1.Told) []*crossingv1.Told { last(all).Claim[0] ^= 1; return honest(all) },
		"of no claim":                 func(all []*crossingv1.Told) []*crossingv1.Told { last(all).Claim = nil; return honest(all) },
		"too little":                  func(all []*crossingv1.Told) []*crossingv1.Told { last(all).Digests = nil; return honest(all) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				l := w.teller()
				if talk := l.tell(change); talk != nil {
					t.Errorf("the far gateway says %v", talk)
				}
				synctest.Wait()
				w.wantRefused(t, w.near.id, malformed)
				if n := len(w.far.statements()); n > 0 {
					t.Errorf("%d statements", n)
				}
				st, err := statement.Read(l.tell(honest).GetAnswered().GetStatement())
				if err != nil {
					t.Fatal(err)
				}
				if ds := st.Answer.GetDifferences(); len(ds) != 1 || ds[0].GetKind() != crossingv1.Difference_OPENED_OTHERWISE || !slices.Equal(ds[0].GetFields(), []string{"source"}) {
					t.Errorf("differences %v", ds)
				}
			})
		})
	}
}

// TestAskedOutOfTurn: a question that is not the next, or is about another claim, ends
// the exchange, and is counted as the ingress gateway's. The claim is said again.
func TestAskedOutOfTurn(t *testing.T) {
	for _, c := range []struct {
		name   string
		turns  []uint32 // of which the last one is refused
		change func(a *crossingv1.Ask)
	}{
		{"the first one twice", []uint32{1, 1}, nil},
		{"the first one left out", []uint32{2}, nil},
		{"one left out", []uint32{1, 3}, nil},
		{"one before", []uint32{1, 2, 1}, nil},
		{"none", []uint32{0}, nil},
		{"another claim", []uint32{1}, func(a *crossingv1.Ask) { a.Claim[0] ^= 1 }},
		{"no claim", []uint32{1}, func(a *crossingv1.Ask) { a.Claim = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				told := make(chan int, 100)
				w.mu.Lock()
				w.speaks = func(s tunnel.Stream) {
					told <- askInTurns(s, c.turns, c.change)
				}
				w.mu.Unlock()
				w.cross(2)
				pass(1500 * time.Millisecond)
				if n := <-told; n != len(c.turns)-1 {
					t.Errorf("%d questions of %v were answered", n, c.turns)
				}
				if w.near.counted("refused "+malformed) == 0 || !strings.HasPrefix(w.near.refused[0], listener+": "+w.far.id.String()+": ") {
					t.Errorf("refused: %v, %v", w.near.counts, w.near.refused)
				}
				w.mu.Lock()
				w.speaks = nil
				w.mu.Unlock()
				pass(10 * time.Second)
				w.wantAgreed(2)
			})
		})
	}
}

// askInTurns asks about the claim that it hears, and says how often it was told.
func askInTurns(s tunnel.Stream, turns []uint32, change func(a *crossingv1.Ask)) (told int) {
	defer s.Reset(tunnel.ProtocolError)
	talk, err := statement.ReadTalk(s)
	if err != nil {
		return 0
	}
	claim := sha256.Sum256(talk.GetClaimed().GetStatement().GetClaim())
	for _, turn := range turns {
		a := &crossingv1.Ask{List: crossingv1.Ask_OPENED, Numbers: []uint64{1}, Turn: turn, Claim: claim[:]}
		if change != nil {
			change(a)
		}
		if statement.WriteTalk(s, &crossingv1.Talk{Ask: a}) != nil {
			return told
		}
		if talk, err := statement.ReadTalk(s); err != nil || talk.GetTold().GetTurn() != turn {
			return told
		}
		told++
	}
	return told
}
