// Package shown decides which records are shown when, to somebody who follows them.
//
// The one invariant: each crossing is shown once when it is finished, however often its
// record changes.
package shown

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// otherHalf is how long a crossing that one gateway has told of waits for the
// other one's half: they deliver when they can, not together.
const otherHalf = 5 * time.Second

// stage is how far a crossing was shown.
type stage int

const (
	unseen stage = iota
	opened
	finished
)

// waiting is a crossing that lacks a half, and until when it waits for it.
type waiting struct {
	record *crossingv1.Record
	until  time.Time
}

// maxShown bounds for how many crossings at least it is known how far they were
// shown; twice as many at most. A record seldom changes once it is finished.
const maxShown = 100_000

// Follower decides which records are shown when: each crossing once.
type Follower struct {
	open           bool
	shown, earlier map[string]stage // by id
	waiting        map[string]waiting
}

// New makes one that shows a crossing when it is finished, and with open set when it
// opens as well.
func New(open bool) *Follower {
	return &Follower{open: open, shown: map[string]stage{}, waiting: map[string]waiting{}}
}

func (f *Follower) stageOf(id string) stage { return max(f.shown[id], f.earlier[id]) }

func (f *Follower) set(id string, s stage) {
	if len(f.shown) >= maxShown {
		f.shown, f.earlier = map[string]stage{}, f.shown
	}
	f.shown[id] = s
}

// Take gives what is to be shown now that a record has come.
func (f *Follower) Take(r *crossingv1.Record, now time.Time) []*crossingv1.Record {
	id := r.GetId()
	if f.stageOf(id) == finished {
		return nil
	}
	delete(f.waiting, id)
	switch r.GetState() {
	case crossingv1.Record_OPEN:
		if !f.open || f.stageOf(id) == opened {
			return nil
		}
		f.set(id, opened)
		return []*crossingv1.Record{r}
	case crossingv1.Record_ONE_SIDED:
		if until := render.Closed(r).Add(otherHalf); until.After(now) {
			f.waiting[id] = waiting{r, until}
			return nil
		}
	}
	f.set(id, finished)
	return []*crossingv1.Record{r}
}

// Overdue gives the crossings whose other half has not come in time.
func (f *Follower) Overdue(now time.Time) []*crossingv1.Record {
	var due []waiting
	for id, w := range maps.All(f.waiting) {
		if !w.until.After(now) {
			due = append(due, w)
			delete(f.waiting, id)
			f.set(id, finished)
		}
	}
	slices.SortFunc(due, func(a, b waiting) int {
		return cmp.Or(a.until.Compare(b.until), cmp.Compare(a.record.GetId(), b.record.GetId()))
	})
	records := make([]*crossingv1.Record, len(due))
	for i, w := range due {
		records[i] = w.record
	}
	return records
}
