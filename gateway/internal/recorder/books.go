package recorder

import (
	"errors"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Books are kept of what is recorded: they give the numbers, and know what of it was
// stated. All methods but Restore may be called concurrently. Nothing that they are
// given is theirs after the call.
//
// at is where a frame is: Frame reads it back as long as the books hold on to it. They
// hold on to each place that Opened and Closed give them, and to those for which Replay
// said so, and give each back once with Stated, perhaps in the call itself.
type Books interface {
	// Next is the next number, from 1, of this run's chain with that ingress gateway;
	// with "", of the chain of crossings that this gateway refused at egress.
	Next(ingress string) uint64
	// Void takes a number of this run's back: its opening could not be recorded.
	Void(ingress string, n uint64)
	// Unrecorded tells of a crossing that came from a peer and could not be recorded,
	// so that it was refused.
	Unrecorded(h *crossingv1.Half)
	// Opened tells of an opening that is in the spool.
	Opened(h *crossingv1.Half, frame []byte, at uint64)
	// Closed tells of an end that is in the spool, perhaps of a run that has ended.
	Closed(c *crossingv1.Close, frame []byte, at uint64)
	// Replay tells of any frame of another run of this gateway, in the order in which
	// that run wrote it; the frame may be one that was stated. kept says that the books
	// hold on to its place.
	Replay(f *crossingv1.Frame, frame []byte, at uint64) (kept bool)
	// Chains are what a start needs to know beyond the frames that the books hold
	// on to.
	Chains() []*crossingv1.ChainState
	// Restore gives back what Chains gave. It is called before Replay and, when another
	// run has ended, again with what that one knew: a state is ignored unless it is
	// ahead of what the books have of its chain.
	Restore(chains []*crossingv1.ChainState)
}

// Stated gives places back that the books held on to: once all openings and ends of a
// segment of the spool were stated, and the control plane has them, it is removed. It
// does not block, and may be called while the books are locked.
func (r *Recorder) Stated(at ...uint64) {}

// Frame reads the frame at a place that the books hold on to.
func (r *Recorder) Frame(at uint64) ([]byte, error) { return nil, errNoFrame }

// Outage is how long and why crossings have not been recorded, and what became of
// them; nil if they are. It has not ended.
func (r *Recorder) Outage() *crossingv1.Outage { return nil }

// errNoFrame says that there is no frame at a place.
var errNoFrame = errors.New("no frame there")
