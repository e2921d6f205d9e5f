package statement

import (
	"bytes"
	"slices"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Fault is what is wrong with a chain of statements.
type Fault int

const (
	// Forked: two claims of one epoch, or two answers to one claim, were signed.
	Forked Fault = iota + 1
	// BrokenLink: no claim of the epoch before that has come, or answer to it, is the one
	// that this claim names. If that comes yet, the chain is forked as well.
	BrokenLink
	// Gap: the claim's first number is not the next of the claim before.
	Gap
	// Resumed: the egress gateway did not remember the claim before.
	Resumed
	// Forgot: the ingress gateway did not remember an answer that it gave.
	Forgot
	// Missed: claims never came to the ingress gateway.
	Missed
	// Differs: the two accounts differ, as both have signed.
	Differs
	// AfterFinal: there is a claim after a final one that put nothing off.
	AfterFinal
)

var faults = [...]string{
	Forked: "forked", BrokenLink: "broken link", Gap: "gap", Resumed: "resumed", Forgot: "forgot", Missed: "missed",
	Differs: "differs", AfterFinal: "after the final claim",
}

// String is the fault in words.
func (f Fault) String() string {
	if f < Forked || int(f) >= len(faults) {
		return "no fault"
	}
	return faults[f]
}

// Finding is one thing that a chain of statements shows.
type Finding struct {
	// Fault that it is.
	Fault Fault
	// Epoch in which it shows, and At when that was claimed.
	Epoch uint64
	At    time.Time
	// Difference of Differs.
	Difference *Difference
	// Missed is how many claims never came.
	Missed uint64
	// Hashes of the claims, or the answers, of Forked.
	Hashes []Hash
}

// Difference is numbers on which two gateways differ, for one reason.
type Difference struct {
	// Kind of it.
	Kind crossingv1.Difference_Kind
	// Fields that differ, by their names in the record.
	Fields []string
	// Numbers, rising.
	Numbers []uint64
}

// Faulty says whether a difference of that kind is a fault. A denial at the ingress
// gateway and a crossing that broke off are none: both gateways say so.
func Faulty(k crossingv1.Difference_Kind) bool {
	return k != crossingv1.Difference_DENIED && k != crossingv1.Difference_BROKEN_OFF
}

// maxVariants is how many claims of one epoch are kept: two show the fork.
const maxVariants = 4

// Follower follows the statements of one chain as they are delivered by either
// gateway, in any order and more than once, and finds what is wrong with them. It
// is not safe for concurrent use. But for a broken link that a later
// claim explains, what it finds does not depend on the order.
type Follower struct {
	chain  Chain
	epochs map[uint64][]*followed
	floor  uint64 // epochs before it are forgotten
	last   *Stated
}

// followed is one claim, and what was said of it already.
type followed struct {
	*Stated
	answers []Hash
	told    map[Fault]bool
}

// Follow begins with nothing known.
func Follow(c Chain) *Follower {
	return &Follower{chain: c.Clone(), epochs: map[uint64][]*followed{}, floor: 1}
}

// Add takes a statement whose signatures were verified, and gives what it shows
// that was not found before. One of another chain, or of an epoch that is
// forgotten, shows nothing.
func (f *Follower) Add(s *Stated) []Finding {
	epoch := s.Claim.GetEpoch()
	if s.Chain != f.chain || epoch < f.floor {
		return nil
	}
	claim, found := f.claim(s)
	if claim == nil {
		return found
	}
	found = append(found, claim.answered(s)...)
	for _, c := range f.epochs[epoch] {
		found = append(found, f.link(c)...)
	}
	for _, c := range f.epochs[epoch+1] {
		found = append(found, f.link(c)...)
	}
	if f.last == nil || epoch >= f.last.Claim.GetEpoch() && s.Answer != nil || epoch > f.last.Claim.GetEpoch() {
		f.last = s
	}
	return found
}

// claim is the claim of a statement, new or known; nil if there are too many of its
// epoch.
func (f *Follower) claim(s *Stated) (*followed, []Finding) {
	epoch := s.Claim.GetEpoch()
	claims := f.epochs[epoch]
	for _, c := range claims {
		if c.ClaimHash == s.ClaimHash {
			return c, nil
		}
	}
	if len(claims) >= maxVariants {
		return nil, nil
	}
	c := &followed{Stated: s, told: map[Fault]bool{}}
	f.epochs[epoch] = append(claims, c)
	var found []Finding
	if s.Claim.GetResumed() {
		found = append(found, c.finding(Resumed))
	}
	if len(claims) > 0 {
		fork := c.finding(Forked)
		for _, one := range f.epochs[epoch] {
			fork.Hashes = append(fork.Hashes, one.ClaimHash)
		}
		found = append(found, fork)
	}
	return c, found
}

func (c *followed) finding(f Fault) Finding {
	return Finding{Fault: f, Epoch: c.Claim.GetEpoch(), At: c.Claim.GetAt().AsTime()}
}

// answered finds what an answer to the claim shows.
func (c *followed) answered(s *Stated) (found []Finding) {
	if s.Answer == nil || slices.Contains(c.answers, s.AnswerHash) || len(c.answers) >= maxVariants {
		return nil
	}
	c.answers = append(c.answers, s.AnswerHash)
	if len(c.answers) > 1 {
		fork := c.finding(Forked)
		fork.Hashes = slices.Clone(c.answers)
		found = append(found, fork)
	}
	c.Stated = s
	if s.Answer.GetForgot() {
		found = append(found, c.finding(Forgot))
	}
	if n := s.Answer.GetMissed(); n > 0 {
		missed := c.finding(Missed)
		missed.Missed = n
		found = append(found, missed)
	}
	for _, d := range s.Answer.GetDifferences() {
		differs := c.finding(Differs)
		differs.Difference = &Difference{d.GetKind(), d.GetFields(), Numbers(d)}
		found = append(found, differs)
	}
	return found
}

// link finds what is wrong between a claim and the one before, once.
func (f *Follower) link(c *followed) (found []Finding) {
	before := f.epochs[c.Claim.GetEpoch()-1]
	tell := func(fault Fault) {
		if !c.told[fault] {
			c.told[fault] = true
			found = append(found, c.finding(fault))
		}
	}
	if len(before) == 0 {
		return nil
	}
	at := slices.IndexFunc(before, func(b *followed) bool { return bytes.Equal(c.Claim.GetPrevious(), b.ClaimHash[:]) })
	if at < 0 {
		tell(BrokenLink)
		return found
	}
	b, named := before[at], c.Claim.GetAnswered()
	if c.Claim.GetFirst() != b.Claim.GetNext() {
		tell(Gap)
	}
	if len(named) > 0 && len(b.answers) > 0 && !slices.Contains(b.answers, Hash(named)) {
		tell(BrokenLink)
	}
	if b.Claim.GetFinal() && b.Answer != nil && len(b.deferred) == 0 {
		tell(AfterFinal)
	}
	return found
}

// Missing are the epochs, up to most of them, that have not come although a later
// one has: late, or lost.
func (f *Follower) Missing(most int) (epochs []uint64) {
	if f.last == nil {
		return nil
	}
	for epoch := f.floor; epoch < f.last.Claim.GetEpoch() && len(epochs) < most; epoch++ {
		if len(f.epochs[epoch]) == 0 {
			epochs = append(epochs, epoch)
		}
	}
	return epochs
}

// Last is the statement of the latest epoch that has come; nil if none has.
func (f *Follower) Last() *Stated { return f.last }

// Forget drops what is known of epochs before that one. Who adds the statement of
// the epoch before it again keeps the link.
func (f *Follower) Forget(before uint64) {
	for epoch := range f.epochs {
		if epoch < before {
			delete(f.epochs, epoch)
		}
	}
	f.floor = max(f.floor, before)
}
