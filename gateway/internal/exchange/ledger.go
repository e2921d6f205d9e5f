package exchange

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ledger is what this gateway and its peers have stated, or are about to, of the
// crossings that come here. Its methods may be called concurrently, and do not wait.
type ledger interface {
	// Barred says that a number was stated as one that never came here: it must not
	// come any more.
	Barred(egress, run string, number uint64) bool
	// Holds says that a number is known here as another crossing's.
	Holds(egress, run string, number uint64, instead uuid.UUID) bool
	// Reused takes note that a number came with another crossing too.
	Reused(egress, run string, number uint64)
}

// errBarred says that a crossing comes after it was stated that it does not.
var errBarred = errors.New("it was stated that the number never came")

// take takes a crossing's number, or says why it must not be: as numbers does, or
// with errBarred.
func (i *Ingress) take(peer spiffeid.ID, h *crossingv1.Header) error {
	id, err := crossing.ParseID(h.GetId())
	if err != nil {
		return err
	}
	egress, run, number := peer.String(), h.GetRun(), h.GetSequence()
	err = i.numbers.take(peer, run, number, id)
	l := i.cfg.Ledger
	switch {
	case l == nil:
	case errors.Is(err, errReused), l.Holds(egress, run, number, id):
		l.Reused(egress, run, number)
		return fmt.Errorf("%w: %d", errReused, number)
	case err == nil && l.Barred(egress, run, number):
		return errBarred
	}
	return err
}

// barred says that it was stated while the crossing was recorded that it never came.
func (a *arrival) barred() bool {
	return a.cfg.Ledger != nil && a.cfg.Ledger.Barred(a.key.Egress, a.key.Run, a.key.Sequence)
}
