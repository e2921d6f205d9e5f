package statement

import (
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Egress is the egress gateway's account of one chain: which numbers it gave out,
// what became of them, and what it has claimed. All methods may be called
// concurrently; Next, Void, Opened and Closed are short.
//
// A chain of refused crossings, whose Ingress is empty, has claims that nobody
// answers: each is followed by Alone as soon as it is written down.
type Egress struct {
	chain Chain
}

// NewEgress begins a chain.
func NewEgress(c Chain, began time.Time) *Egress { panic("to come") }

// RestoreEgress goes on with a chain of an earlier process, from what it saved.
// Then what was written since is replayed in the order in which it was: openings
// and ends with Opened and Closed, statements with Replay. What is older than the
// state changes nothing.
func RestoreEgress(s *crossingv1.ChainState) (*Egress, error) { panic("to come") }

// Chain that it is of.
func (e *Egress) Chain() Chain { return e.chain }

// Next is the next number, from 1. Void or Opened must be called of each.
func (e *Egress) Next() uint64 { panic("to come") }

// Void says that a number never opened.
func (e *Egress) Void(n uint64) { panic("to come") }

// Opened says that a crossing opened. frame is the encoded frame with that half,
// and at where it was spooled. It keeps neither. It gives true if that makes a
// claim due at once.
func (e *Egress) Opened(h *crossingv1.Half, frame []byte, at uint64) (due bool) { panic("to come") }

// Closed says that a crossing ended: as Opened.
func (e *Egress) Closed(c *crossingv1.Close, frame []byte, at uint64) (due bool) { panic("to come") }

// Due says whether there is enough to claim: no claim is outstanding, and Full
// numbers have opened or ended, or some and Epoch has passed since the last claim.
func (e *Egress) Due(now time.Time) bool { panic("to come") }

// Facts are what a claim says beside the account.
type Facts struct {
	// Now is the gateway's clock.
	Now time.Time
	// Policy in force; nil if there is none.
	Policy *crossingv1.PolicyRef
	// Final says that the run has ended: numbers that have neither opened nor are void
	// are void, and the claim is final if it says all there is.
	Final bool
}

// Cut makes the claim of the epoch, signed and outstanding, or gives nil if one is
// outstanding already, or there is nothing to say and it is not final. It must be
// written down durably before it is sent.
func (e *Egress) Cut(f Facts, by *Signer) *crossingv1.Statement { panic("to come") }

// Pending is the outstanding claim; nil if there is none.
func (e *Egress) Pending() *crossingv1.Statement { panic("to come") }

// Tell answers a question about the outstanding claim.
func (e *Egress) Tell(a *crossingv1.Ask, frames Frames) (*crossingv1.Told, error) { panic("to come") }

// Check holds that a statement is the outstanding claim with an answer that the
// ingress gateway signed with that key. It changes nothing.
func (e *Egress) Check(s *crossingv1.Statement, k *Key) (*Stated, error) { panic("to come") }

// Answered commits the answer that Check gave, when it was written down: what it
// does not defer is stated.
func (e *Egress) Answered(s *Stated) { panic("to come") }

// Alone lets the outstanding claim stand without an answer.
func (e *Egress) Alone() { panic("to come") }

// Adopt goes on from a later claim than is known here, which the ingress gateway
// has shown, if the egress gateway's own key signed it. The next claim says that
// it resumes.
func (e *Egress) Adopt(s *crossingv1.Statement, k *Key) error { panic("to come") }

// Replay learns from a statement of the chain that this gateway wrote down before.
func (e *Egress) Replay(s *crossingv1.Statement) error { panic("to come") }

// Stated gives the places of frames that need not be kept for statements any more,
// each once.
func (e *Egress) Stated() []uint64 { panic("to come") }

// Done says that the final claim was answered, and puts nothing off: the chain is
// at its end.
func (e *Egress) Done() bool { panic("to come") }

// Standing is where the chain stands. Silent is the caller's to set.
func (e *Egress) Standing() *crossingv1.Standing { panic("to come") }

// State is what RestoreEgress goes on from.
func (e *Egress) State() *crossingv1.ChainState { panic("to come") }
