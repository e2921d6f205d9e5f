package controlplane

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/recall"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
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
	// forgetEvery is how often what is settled is forgotten, at least.
	forgetEvery = time.Minute
)

// feed keeps the store of records what is joined, and has that forgotten in time. Nobody
// waits for it: an acknowledgement means that frames are durable, and a store that fails is
// told of and is filled again from them.
type feed struct {
	store   records.Keeper
	records *recall.Records
	book    *statements.Book

	forgetEvery time.Duration
	log         *zap.Logger
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
	// Both go on for as long as it runs, however often the store fails.
	upkeep, forget := time.NewTicker(upkeepEvery), time.NewTicker(f.forgetEvery)
	defer upkeep.Stop()
	defer forget.Stop()
	for ctx.Err() == nil {
		if err := f.follow(ctx, upkeep.C, forget.C); err != nil && !errors.Is(err, join.ErrSlow) && ctx.Err() == nil {
			f.log.Error("records not stored; tried again", zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(feedPause):
			}
		} // after ErrSlow, which says that they change faster than they are put, at once
	}
	return nil
}

// follow puts all records, and each that changes, until it fails. Ticks say that it is time
// to archive, and to forget.
func (f *feed) follow(ctx context.Context, upkeep, forget <-chan time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed, ended := make(chan records.Joined, feedBatch), make(chan error, 1)
	go func() { ended <- f.watch(ctx, changed) }()
	for {
		var err error
		select {
		case err = <-ended:
		case now := <-upkeep:
			_, err = f.store.Maintain(ctx, now)
		case now := <-forget:
			err = f.forget(ctx, now)
		case one := <-changed:
			err = f.store.Put(ctx, f.current(gather(one, changed)))
		}
		if err != nil {
			return err
		}
	}
}

// forget lets go of what is settled.
func (f *feed) forget(ctx context.Context, now time.Time) error {
	n, err := f.records.Settle(ctx, f.book, now)
	if n > 0 {
		f.log.Debug("crossings are in the store of records alone", zap.Int("count", n))
	}
	return err
}

// watch tells of what is joined, and of each that changes.
func (f *feed) watch(ctx context.Context, changed chan<- records.Joined) error {
	joined, changes := f.records.Watch(&controlv1.ListCrossingsRequest{})
	defer changes.Stop()
	tell := func(h join.Halves) error {
		select {
		case changed <- recall.RecordOf(h):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, h := range joined {
		if err := tell(h); err != nil {
			return err
		}
	}
	return changes.Each(ctx, tell)
}

// current are those that have not changed since, and were not forgotten: what changed comes
// again, and what was forgotten is kept as it was last.
func (f *feed) current(all []records.Joined) []records.Joined {
	return slices.DeleteFunc(all, func(j records.Joined) bool {
		_, is := f.records.Of(j.Record)
		return !is
	})
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
