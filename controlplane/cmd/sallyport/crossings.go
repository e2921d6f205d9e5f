package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// crossingFilter is the flags of `crossings`.
type crossingFilter struct {
	request  controlv1.ListCrossingsRequest
	decision string
	since    string
	format   render.Format
}

func (a *app) crossingsCommand() *cobra.Command {
	f := new(crossingFilter)
	cmd := &cobra.Command{
		Use:   "crossings",
		Short: "List what crossed from one environment to another, and what was denied",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := f.build(a.now())
			if err != nil {
				return err
			}
			if request.GetFollow() {
				return a.follow(cmd.Context(), f.format, request)
			}
			return a.list(cmd.Context(), f.format, request)
		},
	}
	f.flags(cmd)
	formatFlag(cmd, &f.format)
	cmd.AddCommand(a.refusedCommand())
	return cmd
}

func (f *crossingFilter) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.request.From, "from", "", "environment of the caller")
	flags.StringVar(&f.request.To, "to", "", "environment of the callee")
	flags.StringVar(&f.request.Identity, "identity", "", "SPIFFE ID of the caller or the callee")
	flags.StringVar(&f.decision, "decision", "", "allow (neither gateway denied it) or deny (one did)")
	flags.StringVar(&f.since, "since", "", "RFC 3339 time, or how long ago, such as 10m")
	flags.StringVar(&f.request.Owner, "owner", "", "team that owns the transition")
	flags.Uint32Var(&f.request.Limit, "limit", 0, "the newest so many; 0 for all")
	flags.BoolVar(&f.request.Follow, "follow", false, "go on with each record that changes")
	complete(cmd, "decision", "allow", "deny")
}

// build makes the request that the flags ask for.
func (f *crossingFilter) build(now time.Time) (*controlv1.ListCrossingsRequest, error) {
	request := proto.CloneOf(&f.request)
	switch f.decision {
	case "":
	case "allow":
		request.Decision = crossingv1.Decision_ALLOW
	case "deny":
		request.Decision = crossingv1.Decision_DENY
	default:
		return nil, usage("--decision %q: want allow or deny", f.decision)
	}
	var err error
	request.Since, err = since(f.since, now)
	return request, err
}

// since reads a time or how long ago it was.
func since(text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil // no bound
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return timestamppb.New(t), nil
	}
	ago, err := time.ParseDuration(text)
	if err != nil || ago < 0 {
		return nil, usage("--since %q: want an RFC 3339 time (2026-11-23T10:15:00Z) or how long ago (10m)", text)
	}
	return timestamppb.New(now.Add(-ago)), nil
}

func (a *app) list(ctx context.Context, format render.Format, request *controlv1.ListCrossingsRequest) error {
	records, err := a.records(ctx, request)
	if err != nil {
		return err
	}
	if err := a.print(format, recordList(records), func(w io.Writer) error {
		g := render.Crossings()
		for _, r := range records {
			render.CrossingRow(g, r)
		}
		return g.Flush(w)
	}); err != nil {
		return err
	}
	return found(len(records), "crossing")
}

// follow writes each record as it comes until it is interrupted: a row, an
// object on one line, or a YAML document.
func (a *app) follow(ctx context.Context, format render.Format, request *controlv1.ListCrossingsRequest) error {
	g := render.LiveCrossings()
	err := a.ask(ctx, func(c *connection) error {
		if c.stopped {
			return usage("the mesh in %s is stopped: there is nothing to follow", a.mesh.dir)
		}
		return a.eachRecord(ctx, c, request, func(r *crossingv1.Record) error {
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
		})
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // the only way to end it
	}
	return err
}

func (a *app) refusedCommand() *cobra.Command {
	var format render.Format
	var from string
	cmd := &cobra.Command{
		Use:   "refused",
		Short: "List what was refused before there was an identity, counted by reason, prefix and second",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			earliest, err := since(from, a.now())
			if err != nil {
				return err
			}
			return a.refused(cmd.Context(), format, &controlv1.ListRefusalsRequest{Since: earliest})
		},
	}
	cmd.Flags().StringVar(&from, "since", "", "RFC 3339 time, or how long ago, such as 10m")
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) refused(ctx context.Context, format render.Format, request *controlv1.ListRefusalsRequest) error {
	list := render.List{}
	g := render.Refusals()
	err := a.ask(ctx, func(c *connection) error {
		stream, err := controlv1.NewCrossingServiceClient(c).ListRefusals(ctx, request)
		if err != nil {
			return answered("list refusals", c, err)
		}
		return each("list refusals", c, stream.Recv, func(r *controlv1.GatewayRefusal) error {
			list = append(list, render.Message(r))
			render.RefusalRow(g, r.GetGateway(), r.GetRefusal())
			return nil
		})
	})
	if err != nil {
		return err
	}
	if err := a.print(format, list, g.Flush); err != nil {
		return err
	}
	return found(len(list), "refusal")
}
