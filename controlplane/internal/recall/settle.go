package recall

import (
	"context"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// settleBatch is how many are kept and forgotten at once. Where their hour is in the
// archive, all of it is read for each batch.
const settleBatch = 50_000

// Book knows what gateways state. See statements.Book.
type Book interface {
	// Settled says that all of a crossing was held against what is stated.
	Settled(k *crossingv1.Key) bool
	// Findings are what does not match.
	Findings(now time.Time) []*controlv1.Finding
}

// Settle has the store keep what is settled, by what is joined and by what is stated, unless
// its retention is over, and forgets it then, and says how much that is. What something was
// found of is not forgotten: it has to be explained.
func (r *Records) Settle(ctx context.Context, book Book, now time.Time) (forgotten int, err error) {
	if r.store == nil {
		return 0, nil
	}
	found := map[statements.Place]struct{}{}
	for _, f := range book.Findings(now) {
		found[statements.PlaceOf(f)] = struct{}{}
	}
	before := now.Add(-r.remember)
	settled := func(h join.Halves) bool {
		_, is := found[statements.Place{Chain: statement.ChainOf(h.Key()), Number: h.Key().GetSequence()}]
		return !is && book.Settled(h.Key())
	}
	for {
		all := r.Settled(before, settleBatch, settled)
		if len(all) == 0 {
			return forgotten, nil
		}
		batch := make([]records.Joined, 0, len(all))
		for _, h := range all {
			if j := RecordOf(h); r.store.Keeps(j.Record, r.now()) {
				batch = append(batch, j)
			}
		}
		if err := r.store.Put(ctx, batch); err != nil {
			return forgotten, err
		}
		r.Forget(before, all)
		forgotten += len(all)
	}
}
