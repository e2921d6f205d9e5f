package main

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/shown"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// follow writes each crossing once it is finished, until it is interrupted: a
// row, an object on one line, or a YAML document. With open set it writes it when
// it opens as well.
func (a *app) follow(ctx context.Context, form crossingForm, request *controlv1.ListCrossingsRequest, open bool) error {
	f := shown.New(open)
	write := a.liveWriter(form)
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
func (a *app) followOn(ctx context.Context, c *connection, request *controlv1.ListCrossingsRequest, f *shown.Follower, write func(*crossingv1.Record) error) error {
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
			due = f.Take(r, a.now())
		case <-tick.C:
			due = f.Overdue(a.now())
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
func (a *app) liveWriter(form crossingForm) func(*crossingv1.Record) error {
	g := form.live()
	return func(r *crossingv1.Record) error {
		switch form.format {
		case render.JSON:
			return render.WriteLine(a.stdout, form.value(r))
		case render.YAML:
			if _, err := io.WriteString(a.stdout, "---\n"); err != nil {
				return err
			}
			return render.WriteYAML(a.stdout, form.value(r))
		}
		form.row(g, r)
		return g.Flush(a.stdout)
	}
}
