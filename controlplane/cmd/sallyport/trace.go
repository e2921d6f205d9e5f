package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

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
			request, err := traceRequest(args[0])
			if err != nil {
				return err
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

// The lengths of what names a trace, in characters.
const (
	traceIDLength     = 32
	traceparentLength = 55
)

// traceRequest reads what a person pasted: a crossing's id, a W3C traceparent
// (its flags and span do not matter here), or a trace id.
func traceRequest(text string) (*controlv1.ListCrossingsRequest, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	switch {
	case isTraceID(text):
		return &controlv1.ListCrossingsRequest{Trace: text}, nil
	case len(text) == traceparentLength && strings.Count(text, "-") == 3 && isTraceID(text[3:3+traceIDLength]):
		return &controlv1.ListCrossingsRequest{Trace: text[3 : 3+traceIDLength]}, nil
	}
	if id, err := uuid.Parse(text); err == nil && id.String() == text {
		return &controlv1.ListCrossingsRequest{Id: text}, nil
	}
	return nil, usage("%q names no trace: want a crossing's id (01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88), a traceparent (00-…-…-01), or 32 hex digits", text)
}

func isTraceID(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b)*2 == traceIDLength && strings.Trim(text, "0") != ""
}
