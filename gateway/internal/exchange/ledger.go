package exchange

import (
	"errors"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/numbers"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ledger is what this gateway and its peers have stated, or are about to, of the
// crossings that come here. Its methods may be called concurrently, and do not wait.
type ledger interface {
	// Take says whether a number may open here: it was not stated as one that never
	// came, and has not come to an earlier process of this gateway. After true, its
	// opening is recorded, or fails to be.
	Take(egress, run string, number uint64) bool
	// Reused takes note that a number came with another crossing too.
	Reused(egress, run string, number uint64)
}

// take takes a crossing's number, or says why it must not be, as numbers does.
func (i *Ingress) take(peer spiffeid.ID, h *crossingv1.Header) error {
	id, err := crossing.ParseID(h.GetId())
	if err != nil {
		return err
	}
	err = i.numbers.Take(peer, h.GetRun(), h.GetSequence(), id)
	if errors.Is(err, numbers.ErrReused) && i.cfg.Ledger != nil {
		i.cfg.Ledger.Reused(peer.String(), h.GetRun(), h.GetSequence())
	}
	return err
}

// taken says whether the crossing may open: it was not stated meanwhile that it never
// came, and no earlier process has it.
func (a *arrival) taken() bool {
	return a.cfg.Ledger == nil || a.cfg.Ledger.Take(a.key.Egress, a.key.Run, a.key.Sequence)
}
