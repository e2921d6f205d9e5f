package simulation

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// harm is what is done to one message.
type harm int

const (
	intact harm = iota
	dropped
	doubled
	reordered // it comes after the next one, or when all was said
	mutated
	severed // and the tunnel is lost with it
	stale   // the one before it in its stream comes again, in its place
	behind  // so too, and it comes in the place of the next, as all after it
	foreign // one of the same turn comes in its place, of an exchange on another claim
	harms
)

var harmNames = [harms]string{"intact", "dropped", "doubled", "reordered", "mutated", "severed", "stale", "behind", "foreign"}

func (h harm) String() string { return harmNames[h] }

// said is what one gateway has said to another of statements, and what is done to it.
type said struct {
	harms     map[int]harm // by number
	turnHarms map[int]harm // of questions and of what is told, by their number
	messages  int          // so far
	turns     []turn       // so far
	displaced int          // of those, that came twice or in another's place
	asked     bool         // a question was changed on its way
	told      bool         // what is told was
}

// turn is a question, or what is told to one.
type turn struct {
	text   []byte
	asks   bool
	number uint32
	claim  []byte
}

// turnOf is the turn that a message is; false if it is none.
func turnOf(m []byte) (turn, bool) {
	t := new(crossingv1.Talk)
	if len(m) < 4 || proto.Unmarshal(m[4:], t) != nil {
		return turn{}, false
	}
	if a := t.GetAsk(); a != nil {
		return turn{bytes.Clone(m), true, a.GetTurn(), a.GetClaim()}, true
	}
	a := t.GetTold()
	return turn{bytes.Clone(m), false, a.GetTurn(), a.GetClaim()}, a != nil
}

// elsewhere is what was said in the same turn of an exchange on another claim; nil if
// nothing was.
func (s *said) elsewhere(t turn) []byte {
	for _, was := range s.turns {
		if was.asks == t.asks && was.number == t.number && !bytes.Equal(was.claim, t.claim) {
			return was.text
		}
	}
	return nil
}

// next counts a message, and says what is done to it.
func (s *said) next(m []byte) (harm, turn) {
	s.messages++
	h := s.harms[s.messages]
	t, is := turnOf(m)
	if !is {
		return h, turn{}
	}
	s.turns = append(s.turns, t)
	if other := s.turnHarms[len(s.turns)]; other != intact {
		h = other
	}
	return h, t
}

// tamper harms messages of statements by their numbers.
func (l *link) tamper(s *stream) tamper {
	var before []byte // the message before this one in the stream
	lags := false     // each comes in the place of the next
	return func(m []byte) (texts [][]byte, held bool, late time.Duration) {
		l.mu.Lock()
		defer l.mu.Unlock()
		h, t := l.said.next(m)
		was := before
		before = bytes.Clone(m)
		if h == behind {
			lags = was != nil
		}
		switch {
		case h == dropped:
			return nil, false, 0
		case h == reordered:
			return [][]byte{m}, true, 0
		case h == mutated:
			return [][]byte{l.mutate(m, t)}, false, 0
		case h == severed:
			go s.lose()
			return nil, false, 0
		case h == doubled:
			return [][]byte{l.displace(m, t), m}, false, 0
		case (h == stale || lags) && was != nil:
			return [][]byte{l.displace(was, t)}, false, 0
		case h == foreign && l.said.elsewhere(t) != nil:
			return [][]byte{l.displace(l.said.elsewhere(t), t)}, false, 0
		}
		return [][]byte{m}, false, 0
	}
}

// displace takes note that a text comes where a turn should, or beside it. The caller
// holds mu.
func (l *link) displace(text []byte, of turn) []byte {
	if of.text != nil {
		l.said.displaced++
	}
	return text
}

// mutate changes one bit of a message. The caller holds mu.
func (l *link) mutate(m []byte, of turn) []byte {
	l.said.asked = l.said.asked || of.text != nil && of.asks
	l.said.told = l.said.told || of.text != nil && !of.asks
	m = bytes.Clone(m)
	m[l.random.IntN(len(m))] ^= 1 << l.random.IntN(8)
	return m
}

// changed says whether a question, or what was told, was changed on its way.
func (l *link) changed() (asked, told bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.asked, l.said.told
}

// displaced is how many questions, and answers to them, came twice or in another's place.
func (l *link) displaced() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.displaced
}

// displaced is that of all ways.
func (w *world) displaced() (n int) {
	for _, l := range w.links {
		n += l.displaced()
	}
	return n
}

// TestTurns: of two gateways that have something to ask about in every epoch, each harm
// of a question and of what is told is noticed by who hears it. Nothing is named then but
// what was so, and each claim is answered.
func TestTurns(t *testing.T) {
	for _, h := range displacing {
		for name, way := range map[string][2]int{"asked": {1, 0}, "told": {0, 1}} {
			t.Run(h.String()+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := turnsPlan()
					for _, number := range []int{6, 10, 14, 18} {
						harmOne(p.turns, way, number, h)
					}
					w := newWorld(t, p, false)
					wrong := w.run()
					for _, what := range wrong {
						t.Error(what)
					}
					w.checkDisplaced(t, way)
				})
			})
		}
	}
}

// turnsPlan is a schedule of crossings from one gateway to another, of which some differ
// and nothing else is harmed.
func turnsPlan() *plan {
	p := &plan{
		seed: 1, gateways: 2, clocks: make([]time.Duration, 2), latency: 10 * time.Millisecond, room: 1 << 20,
		turns: map[[2]int]map[int]harm{}, delivered: make([]map[int]harm, 2), unsure: make([]map[int]bool, 2),
	}
	for i := range 60 {
		c := &planned{index: i, to: 1, at: time.Duration(i) * 100 * time.Millisecond, durable: true, request: 10, response: 10}
		switch i % 10 {
		case 3:
			c.harm = otherSource
		case 6:
			c.harm = padded
		}
		p.crossings = append(p.crossings, c)
	}
	return p
}

// checkDisplaced holds that turns on a way were displaced, that who heard them has
// refused them, and that every claim has its answer.
func (w *world) checkDisplaced(t *testing.T, way [2]int) {
	t.Helper()
	if n := w.displaced(); n < 2 {
		t.Errorf("%d turns were harmed", n)
	}
	if g := w.gateways[way[1]]; g.mistold["malformed"] == 0 {
		t.Errorf("%s refused: %s", g.name, g.refused())
	}
	for c, k := range w.control.chains {
		for _, s := range k.epochs() {
			if c.Ingress != "" && s.Answer == nil {
				t.Errorf("epoch %d of %.8s stands alone", s.Claim.GetEpoch(), c.Run)
			}
		}
	}
}
