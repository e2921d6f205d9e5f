// Package chain follows what two gateways have stated, claim by claim, and finds where it
// does not hold together (gateway/statement/FORMAT.md, "Following a chain").
//
// The one invariant: what counts of an epoch is one claim and at most one answer to it. All
// others are named.
package chain

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/trust"
)

// Delivery is where a log has something that was signed.
type Delivery struct {
	// Log is its origin, and Index the entry.
	Log   string
	Index uint64
	// Entered is when, by the log's clock.
	Entered time.Time
	// Gateway is the SPIFFE ID of who delivered it.
	Gateway string
	// Key that it was signed with there. What one process of a gateway has signed, the next
	// one may sign again.
	Key *trust.Key
}

// Claim is one of an epoch, with the answers to it.
type Claim struct {
	*statement.Statement

	// Delivered is where it is, in the order of logs and entries.
	Delivered []Delivery
	// Answers that were signed: one, or none; more are a fork.
	Answers []*Answer
}

// Answer is one to a claim.
type Answer struct {
	*statement.Answer

	// Delivered as that of a claim.
	Delivered []Delivery
}

// maxVariants is how many claims of one epoch, and answers to one claim, are kept. Two
// show the fork.
const maxVariants = 4

// Chain is what there is of one.
type Chain struct {
	// Name of it.
	Name statement.Chain

	epochs map[uint64][]*Claim
	sorted []uint64 // their numbers; nil if that is to be done again
}

// New is one of which there is nothing.
func New(name statement.Chain) *Chain { return &Chain{Name: name, epochs: map[uint64][]*Claim{}} }

// Add takes a statement whose signatures were verified.
func (c *Chain) Add(s *statement.Statement, claim, answer *trust.Key, d Delivery) {
	c.sorted = nil
	all := c.epochs[s.Epoch]
	at := slices.IndexFunc(all, func(o *Claim) bool { return o.Hash == s.Hash })
	if at < 0 {
		if len(all) == maxVariants {
			return
		}
		at = len(all)
		all = append(all, &Claim{Statement: s})
		c.epochs[s.Epoch] = all
	}
	one := all[at]
	d.Key = claim
	one.Delivered = append(one.Delivered, d)
	if s.Answer == nil {
		return
	}
	at = slices.IndexFunc(one.Answers, func(o *Answer) bool { return o.Hash == s.Answer.Hash })
	if at < 0 {
		if len(one.Answers) == maxVariants {
			return
		}
		at = len(one.Answers)
		one.Answers = append(one.Answers, &Answer{Answer: s.Answer})
	}
	d.Key = answer
	one.Answers[at].Delivered = append(one.Answers[at].Delivered, d)
}

// Epochs are the numbers of those that there is a claim of, rising.
func (c *Chain) Epochs() []uint64 {
	if c.sorted == nil {
		c.sorted = slices.Sorted(maps.Keys(c.epochs))
	}
	return c.sorted
}

// Claim is the one that counts of an epoch: one that was answered, if there is one; nil if
// there is no claim.
func (c *Chain) Claim(epoch uint64) *Claim {
	all := c.epochs[epoch]
	if len(all) == 0 {
		return nil
	}
	if at := slices.IndexFunc(all, func(o *Claim) bool { return len(o.Answers) > 0 }); at >= 0 {
		return all[at]
	}
	return all[0]
}

// Answered is the answer that counts; nil if there is none.
func (c *Claim) Answered() *Answer {
	if len(c.Answers) == 0 {
		return nil
	}
	return c.Answers[0]
}

// Last is the claim of the last epoch; nil if there is none.
func (c *Chain) Last() *Claim {
	epochs := c.Epochs()
	if len(epochs) == 0 {
		return nil
	}
	return c.Claim(epochs[len(epochs)-1])
}

// Over says that the run has ended, and was stated to the end.
func (c *Chain) Over() bool {
	last := c.Last()
	if last == nil || !last.Final {
		return false
	}
	a := last.Answered()
	return c.Name.Ingress == "" || a != nil && len(a.Deferred) == 0
}

// Has says whether there is a claim of that hash in an epoch.
func (c *Chain) Has(epoch uint64, hash []byte) bool { return c.named(epoch, hash) != nil }

func (c *Chain) named(epoch uint64, hash []byte) *Claim {
	for _, o := range c.epochs[epoch] {
		if bytes.Equal(o.Hash[:], hash) {
			return o
		}
	}
	return nil
}

// entered is when the first of them came into a log, and where.
func entered(all []Delivery) Delivery {
	return slices.MinFunc(all, func(x, y Delivery) int { return x.Entered.Compare(y.Entered) })
}

// answer is the one of that hash.
func (c *Claim) answer(hash []byte) *Answer {
	for _, a := range c.Answers {
		if bytes.Equal(a.Hash[:], hash) {
			return a
		}
	}
	return nil
}
