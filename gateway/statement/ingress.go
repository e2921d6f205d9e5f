package statement

import (
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Ingress is the ingress gateway's account of one chain: what came of it, and
// which claims it has answered. All methods may be called concurrently; Take,
// Opened, Closed, Unrecorded and Reused are short.
type Ingress struct {
	chain Chain
}

// NewIngress begins a chain, or goes on with one of which nothing is known.
func NewIngress(c Chain) *Ingress { panic("to come") }

// RestoreIngress goes on with a chain of an earlier process: as RestoreEgress.
func RestoreIngress(s *crossingv1.ChainState) (*Ingress, error) { panic("to come") }

// Chain that it is of.
func (i *Ingress) Chain() Chain { return i.chain }

// Take says whether a number that has come may open: it is not barred, because an
// answer said that it never came, and not too far ahead of the claims. After true,
// Opened or Unrecorded must be called of it: a review waits for that.
func (i *Ingress) Take(n uint64) bool { panic("to come") }

// Opened says that a crossing opened here, or was denied. frame is the encoded
// frame with that half, and at where it was spooled. It keeps neither.
func (i *Ingress) Opened(h *crossingv1.Half, frame []byte, at uint64) { panic("to come") }

// Closed says that a crossing ended here: as Opened.
func (i *Ingress) Closed(c *crossingv1.Close, frame []byte, at uint64) { panic("to come") }

// Unrecorded says that a number came and was refused, because it could not be
// recorded.
func (i *Ingress) Unrecorded(n uint64) { panic("to come") }

// Reused says that a number came with another crossing, too, which was refused.
func (i *Ingress) Reused(n uint64) { panic("to come") }

// Replay learns from a statement of the chain that this gateway wrote down before.
func (i *Ingress) Replay(s *crossingv1.Statement) error { panic("to come") }

// Stated gives the places of frames that need not be kept for statements any more,
// each once.
func (i *Ingress) Stated() []uint64 { panic("to come") }

// Waiting says whether the ingress gateway has something of the chain that no
// claim was about yet.
func (i *Ingress) Waiting() bool { panic("to come") }

// Done says that the final claim was answered, and nothing put off.
func (i *Ingress) Done() bool { panic("to come") }

// Standing is where the chain stands. Silent is the caller's to set.
func (i *Ingress) Standing() *crossingv1.Standing { panic("to come") }

// State is what RestoreIngress goes on from.
func (i *Ingress) State() *crossingv1.ChainState { panic("to come") }
