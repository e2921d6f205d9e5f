package controlplane

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// feedBatch and feedWait bound how many records are put at once, and how long the
	// first of them waits for others.
	feedBatch = 2000
	feedWait  = 100 * time.Millisecond
	// feedPause is how long a store that failed is let alone.
	feedPause = 5 * time.Second
	// upkeepEvery is how often hours that are over are archived.
	upkeepEvery = time.Hour
)

// feed keeps the store of records what the joiner says. Nobody waits for it: an
// acknowledgement means that frames are durable, and a store that fails is told of and is
// filled again from them.
type feed struct {
	store  records.Keeper
	joiner *join.Joiner
	log    *zap.Logger
}

// openRecords opens the store of records. One that is damaged is set aside, and filled
// again from what gateways have delivered.
func openRecords(ctx context.Context, dir string, c records.Config, log *zap.Logger) (records.Keeper, error) {
	store, err := c.Open(ctx, dir)
	if errors.Is(err, records.ErrDamaged) {
		aside, asideErr := records.SetAside(dir, time.Now())
		if asideErr != nil {
			return nil, errors.Join(err, asideErr)
		}
		log.Error("store of records was damaged: it is made again", zap.String("aside", aside), zap.Error(err))
		store, err = c.Open(ctx, dir)
	}
	if err != nil {
		return nil, err // a Keeper that is nil, not one that holds a nil store
	}
	return store, nil
}

// recordsDir is where the records are beside an embedded store.
func recordsDir(dir string) string { return filepath.Join(dir, "records") }

// run feeds the store until ctx ends.
func (f *feed) run(ctx context.Context) error {
	upkeep := time.NewTicker(upkeepEvery) // for as long as it runs, however often the store fails
	defer upkeep.Stop()
	for ctx.Err() == nil {
		if err := f.follow(ctx, upkeep.C); err != nil && !errors.Is(err, join.ErrSlow) && ctx.Err() == nil {
			f.log.Error("records not stored; tried again", zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(feedPause):
			}
		} // after ErrSlow, which says that they change faster than they are put, at once
	}
	return nil
}

// follow puts all records, and each that changes, until it fails. Each tick of upkeep is time
// to archive.
func (f *feed) follow(ctx context.Context, upkeep <-chan time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed, ended := make(chan records.Joined, feedBatch), make(chan error, 1)
	go func() {
		ended <- f.joiner.List(ctx, &controlv1.ListCrossingsRequest{Follow: true}, func(r *crossingv1.Record) error {
			h, is := f.joiner.Of(r)
			if !is {
				return nil // it has changed, and comes again
			}
			select {
			case changed <- records.Joined{Egress: h.Key().GetEgress(), Ingress: h.Key().GetIngress(), Record: r}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for {
		select {
		case err := <-ended:
			return err
		case now := <-upkeep:
			if _, err := f.store.Maintain(ctx, now); err != nil {
				return err
			}
		case one := <-changed:
			if err := f.store.Put(ctx, gather(one, changed)); err != nil {
				return err
			}
		}
	}
}

// gather takes what else comes in a short while.
func gather(first records.Joined, more <-chan records.Joined) []records.Joined {
	batch := []records.Joined{first}
	enough := time.NewTimer(feedWait)
	defer enough.Stop()
	for len(batch) < feedBatch {
		select {
		case one := <-more:
			batch = append(batch, one)
		case <-enough.C:
			return batch
		}
	}
	return batch
}
