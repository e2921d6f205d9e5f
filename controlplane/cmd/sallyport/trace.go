package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/asked"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func (a *app) traceCommand() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "trace ID|TRACEPARENT|TRACE-ID",
		Short: "Show the whole path of one request, or all of one crossing",
		Long: `Show every crossing of a trace, in time order, one line each; or one crossing with
all that both gateways recorded of it. A crossing's id is in the sallyport-crossing
header of its answer and in a denial's body; a trace is named by its W3C traceparent
or trace id.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := asked.Trace(args[0])
			if err != nil {
				return usage("%v", err)
			}
			return a.trace(cmd.Context(), format, request)
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) trace(ctx context.Context, format render.Format, request *controlv1.ListCrossingsRequest) error {
	records, err := a.records(ctx, request)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return no("no record of %s; a crossing's record comes when its gateways delivered it (sallyport gateways shows what is spooled)", request.GetId()+request.GetTrace())
	}
	return a.print(format, recordList(records), func(w io.Writer) error {
		if err := render.Trace(w, records, request.GetTrace() != ""); err != nil || request.GetId() == "" {
			return err
		}
		for _, r := range records {
			fmt.Fprintln(w)
			if err := render.Detail(w, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// records asks for the records that match, in time order.
func (a *app) records(ctx context.Context, request *controlv1.ListCrossingsRequest) ([]*crossingv1.Record, error) {
	var records []*crossingv1.Record
	err := a.ask(ctx, func(c *connection) error {
		return a.eachRecord(ctx, c, request, func(r *crossingv1.Record) error {
			records = append(records, r)
			return nil
		})
	})
	render.Sort(records)
	return records, err
}

// eachRecord passes on each record as it comes.
func (a *app) eachRecord(ctx context.Context, c *connection, request *controlv1.ListCrossingsRequest, f func(*crossingv1.Record) error) error {
	stream, err := controlv1.NewCrossingServiceClient(c).ListCrossings(ctx, request)
	if err != nil {
		return answered("list crossings", c, err)
	}
	return each("list crossings", c, stream.Recv, f)
}

// each passes on what a stream gives until it ends.
func each[T any](doing string, c *connection, recv func() (T, error), f func(T) error) error {
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return answered(doing, c, err)
		}
		if err := f(m); err != nil {
			return err
		}
	}
}

func recordList(records []*crossingv1.Record) render.List {
	list := make(render.List, len(records))
	for i, r := range records {
		list[i] = render.Message(r)
	}
	return list
}
