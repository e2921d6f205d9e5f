package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// otherHalf is how long a crossing that one gateway has told of waits for the
// other one's half: they deliver when they can, not together.
const otherHalf = 5 * time.Second

// follow writes each crossing once it is finished, until it is interrupted: a
// row, an object on one line, or a YAML document. With open set it writes it when
// it opens as well.
func (a *app) follow(ctx context.Context, format render.Format, request *controlv1.ListCrossingsRequest, open bool) error {
	f := newFollower(open)
	write := a.liveWriter(format)
	if wanted := request.GetState(); wanted != crossingv1.Record_STATE_UNSPECIFIED {
		// It is the state in the end that counts, so the mesh must tell of the others.
		request = proto.CloneOf(request)
		request.State = crossingv1.Record_STATE_UNSPECIFIED
		all := write
		write = func(r *crossingv1.Record) error {
			if r.GetState() != wanted {
				return nil
			}
			return all(r)
		}
	}
	err := a.ask(ctx, func(c *connection) error {
		if c.Stopped {
			return usage("the mesh in %s is stopped: there is nothing to follow", a.mesh.dir)
		}
		return a.followOn(ctx, c, request, f, write)
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // the only way to end it
	}
	return err
}

// followOn passes records on to the follower, and time.
func (a *app) followOn(ctx context.Context, c *connection, request *controlv1.ListCrossingsRequest, f *follower, write func(*crossingv1.Record) error) error {
	ctx, cancel := context.WithCancel(ctx)
	records, ended := make(chan *crossingv1.Record), make(chan struct{})
	var failed error // once ended is closed
	go func() {
		defer close(ended)
		failed = a.eachRecord(ctx, c, request, func(r *crossingv1.Record) error {
			select {
			case records <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var due []*crossingv1.Record
		select {
		case r := <-records:
			due = f.take(r, a.now())
		case <-tick.C:
			due = f.overdue(a.now())
		case <-ended:
			return failed
		}
		for _, r := range due {
			if err := write(r); err != nil {
				return err
			}
		}
	}
}

// liveWriter writes one record after the other.
func (a *app) liveWriter(format render.Format) func(*crossingv1.Record) error {
	g := render.LiveCrossings()
	return func(r *crossingv1.Record) error {
		switch format {
		case render.JSON:
			return render.WriteLine(a.stdout, render.Message(r))
		case render.YAML:
			if _, err := io.WriteString(a.stdout, "---\n"); err != nil {
				return err
			}
			return render.WriteYAML(a.stdout, render.Message(r))
		}
		render.CrossingRow(g, r)
		return g.Flush(a.stdout)
	}
}

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

// follower decides which records are shown when: each crossing once.
type follower struct {
	open           bool
	shown, earlier map[string]stage // by id
	waiting        map[string]waiting
}

func newFollower(open bool) *follower {
	return &follower{open: open, shown: map[string]stage{}, waiting: map[string]waiting{}}
}

func (f *follower) stageOf(id string) stage { return max(f.shown[id], f.earlier[id]) }

func (f *follower) set(id string, s stage) {
	if len(f.shown) >= maxShown {
		f.shown, f.earlier = map[string]stage{}, f.shown
	}
	f.shown[id] = s
}

// take gives what is to be shown now that a record has come.
func (f *follower) take(r *crossingv1.Record, now time.Time) []*crossingv1.Record {
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

// overdue gives the crossings whose other half has not come in time.
func (f *follower) overdue(now time.Time) []*crossingv1.Record {
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
