// Package statements holds what gateways state against what they deliver. It knows of
// each frame that it came, by the hash of its bytes, and of each chain of statements
// how far it has come; what of the two does not match is a finding. It keeps nothing
// on disk: the store replays accepted frames into it at start. How two halves of one
// crossing differ is package join's to say.
//
// The one invariant: what it finds is a function of the frames that came, and of when
// they did. A frame that comes twice changes nothing, and neither does a restart.
package statements

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// Late is how long after a statement its frames may come. What comes later mends
	// what was found.
	Late = time.Minute
	// Silence is how long a chain may go unmentioned: two heartbeats.
	Silence = 20 * time.Second
)

const (
	// maxKeys bounds what one gateway can announce, and maxHeld what it can deliver that
	// is signed with keys which nobody has announced yet. No honest one comes near.
	maxKeys = 1 << 16
	maxHeld = 1 << 14
)

// Book is what is known of statements. All methods may be called concurrently.
type Book struct {
	mu     sync.Mutex // guards what follows
	chains map[statement.Chain]*chain
	keys   map[string]map[statement.Hash]*statement.Key // of each gateway
	held   map[keyName][]held
	owed   map[string]int // how many statements are held, by who delivered them
	voices map[string]*voice
	began  time.Time // when serving began: before that nobody could have been heard
	latest time.Time // when the last frame came
}

// keyName names a statement key.
type keyName struct {
	gateway string
	id      statement.Hash
}

// held is a statement whose key is not known yet.
type held struct {
	stated *statement.Stated
	from   string // who delivered it
	came   time.Time
}

// voice is how a gateway was heard last.
type voice struct {
	came  time.Time // when it delivered anything
	since time.Time // since when it has delivered without a long pause
	spoke time.Time // when it delivered a statement or a heartbeat
	said  time.Time // its own clock in the last of them
}

// NewBook makes a book that knows nothing.
func NewBook() *Book {
	return &Book{
		chains: map[statement.Chain]*chain{}, keys: map[string]map[statement.Hash]*statement.Key{},
		held: map[keyName][]held{}, owed: map[string]int{}, voices: map[string]*voice{},
	}
}

// Serve says that from then on frames come when gateways send them. Until it is called
// everything is judged as of the last frame that came.
func (b *Book) Serve(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.began = now
}

// Add takes a frame that Check accepted, as its bytes came. The error says why it
// changes nothing, in words that its gateway may read.
func (b *Book) Add(f *crossingv1.Frame, data []byte, now time.Time) error {
	var leaf statement.Hash
	if f.GetOpen() != nil || f.GetClose() != nil {
		leaf = statement.Leaf(data)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latest = now
	v := b.voice(f.GetGateway())
	if now.Sub(v.came) > Silence {
		v.since = now
	}
	v.came = now
	switch {
	case f.GetOpen() != nil:
		c, s := b.chain(f.GetOpen().GetKey(), now), sideOf(f.GetOpen().GetSide())
		c.delivered(s, &c.openings, f.GetOpen().GetKey().GetSequence(), leaf)
	case f.GetClose() != nil:
		c, s := b.chain(f.GetClose().GetKey(), now), sideOf(f.GetClose().GetSide())
		c.delivered(s, &c.ends, f.GetClose().GetKey().GetSequence(), leaf)
	case f.GetAnnouncement() != nil:
		return b.announce(f.GetAnnouncement())
	case f.GetStatement() != nil:
		s, err := statement.Read(f.GetStatement())
		if err != nil {
			return err
		}
		return b.state(s, f.GetGateway(), now)
	case f.GetHeartbeat() != nil:
		return b.beat(f.GetGateway(), f.GetHeartbeat(), now)
	}
	return nil
}

// Settled says that of a crossing every frame that its gateways have was held against what
// they state, so that nothing more will be found of it.
func (b *Book) Settled(k *crossingv1.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, n := b.chains[statement.ChainOf(k)], k.GetSequence()
	switch {
	case c == nil:
		return false
	case k.GetIngress() == "":
		return c.openings[egress].done.Has(n)
	}
	return c.openings[egress].done.Has(n) && c.openings[ingress].done.Has(n) && c.ends[egress].done.Has(n) && c.ends[ingress].done.Has(n)
}

func sideOf(s crossingv1.Side) side {
	if s == crossingv1.Side_INGRESS {
		return ingress
	}
	return egress
}

func (b *Book) voice(gateway string) *voice {
	v := b.voices[gateway]
	if v == nil {
		v = new(voice)
		b.voices[strings.Clone(gateway)] = v
	}
	return v
}

func (b *Book) chain(k *crossingv1.Key, now time.Time) *chain {
	return b.named(statement.ChainOf(k), now)
}

func (b *Book) named(name statement.Chain, now time.Time) *chain {
	c := b.chains[name]
	if c == nil {
		name = name.Clone()
		c = newChain(name, now)
		b.chains[name] = c
	}
	return c
}

// announce takes up a key whose SVID Check has judged, and what waited for it.
func (b *Book) announce(a *crossingv1.Announcement) error {
	judged := func([]*x509.Certificate, time.Time) error { return nil }
	k, err := statement.VerifyAnnouncement(a, a.GetGateway(), judged)
	if err != nil {
		return err
	}
	of := b.keys[k.Gateway]
	if of == nil {
		of = map[statement.Hash]*statement.Key{}
		b.keys[k.Gateway] = of
	}
	if len(of) >= maxKeys && of[k.ID] == nil {
		return fmt.Errorf("it has announced %d keys already", len(of))
	}
	of[k.ID] = k
	name := keyName{k.Gateway, k.ID}
	waited := b.held[name]
	delete(b.held, name)
	for _, h := range waited {
		b.owed[h.from]--
		// Who delivered what does not verify was told nothing, and cannot be told now:
		// it stays unproven, and is not a word of the one whose key it names.
		_ = b.state(h.stated, h.from, h.came)
	}
	return nil
}

// state takes a statement if it is signed with keys that were announced. One that is
// not waits for them; a claim is taken before its answer is proven.
func (b *Book) state(s *statement.Stated, from string, now time.Time) error {
	k := b.keys[s.Chain.Egress][s.EgressKey()]
	if k == nil {
		return b.hold(keyName{s.Chain.Egress, s.EgressKey()}, held{stated: s, from: from, came: now})
	}
	if err := s.VerifyEgress(k); err != nil {
		return err
	}
	if s.Answer != nil {
		k := b.keys[s.Chain.Ingress][s.IngressKey()]
		if k == nil {
			b.take(claimOf(s), from, now)
			return b.hold(keyName{s.Chain.Ingress, s.IngressKey()}, held{stated: s, from: from, came: now})
		}
		if err := s.VerifyIngress(k); err != nil {
			return err
		}
	}
	b.take(s, from, now)
	return nil
}

// claimOf is a statement without its answer.
func claimOf(s *statement.Stated) *statement.Stated {
	c := *s
	c.Statement = &crossingv1.Statement{Claim: s.Statement.GetClaim(), Egress: s.Statement.GetEgress()}
	c.Answer, c.AnswerHash = nil, statement.Hash{}
	return &c
}

func (b *Book) hold(name keyName, h held) error {
	if b.owed[h.from] >= maxHeld {
		return fmt.Errorf("it has delivered %d statements already that are signed with keys which nobody has announced", b.owed[h.from])
	}
	same := func(x held) bool {
		return x.stated.ClaimHash == h.stated.ClaimHash && x.stated.AnswerHash == h.stated.AnswerHash
	}
	if !slices.ContainsFunc(b.held[name], same) {
		b.held[name] = append(b.held[name], h)
		b.owed[h.from]++
	}
	return nil
}

// take takes up a statement that was verified.
func (b *Book) take(s *statement.Stated, from string, now time.Time) {
	c, by := b.named(s.Chain, now), egress
	said := s.Claim.GetAt().AsTime()
	if from == s.Chain.Ingress {
		by, said = ingress, s.Answer.GetAt().AsTime()
	}
	v := b.voice(from)
	v.spoke = now
	if said.After(v.said) {
		v.said = said
	}
	if by == egress {
		c.heard = now
	}
	c.state(s, by, now)
}

// beat takes a heartbeat, which is only worth something from the gateway itself.
func (b *Book) beat(from string, signed *crossingv1.SignedHeartbeat, now time.Time) error {
	id := signed.GetSignature().GetKey()
	if len(id) != len(statement.Hash{}) {
		return errors.New("the heartbeat's signature names no key")
	}
	k := b.keys[from][statement.Hash(id)]
	if k == nil {
		return errors.New("the heartbeat is signed with a key that its gateway has not announced")
	}
	h, err := statement.VerifyHeartbeat(signed, k)
	if err != nil {
		return err
	}
	v := b.voice(from)
	v.spoke = now
	if at := h.GetAt().AsTime(); at.After(v.said) {
		v.said = at
	}
	for _, st := range h.GetStandings() {
		name, err := statement.ParseChain(st.GetChain())
		switch {
		case err != nil:
			return err
		case name.Egress == from:
			b.named(name, now).stands(st, egress, now)
		case name.Ingress == from && b.chains[name] != nil: // it cannot make a chain of another's
			b.chains[name].stands(st, ingress, now)
		}
	}
	return nil
}

// sorted are the chains, in a fixed order.
func (b *Book) sorted() []*chain {
	return slices.SortedFunc(maps.Values(b.chains), func(x, y *chain) int {
		return strings.Compare(x.name.Egress+" "+x.name.Ingress+" "+x.name.Run, y.name.Egress+" "+y.name.Ingress+" "+y.name.Run)
	})
}
