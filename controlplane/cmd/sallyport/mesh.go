package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func (a *app) transitionsCommand() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "transitions",
		Short: "List every pair of environments: who owns it, where its records land, what crossed it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := call(cmd.Context(), a, "list transitions", controlv1.CrossingServiceClient.ListTransitions,
				controlv1.NewCrossingServiceClient, &controlv1.ListTransitionsRequest{})
			if err != nil {
				return err
			}
			return listed(a, format, "transition", r.GetTransitions(), render.Transitions)
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) gatewaysCommand() *cobra.Command {
	var format render.Format
	list := func(cmd *cobra.Command, _ []string) error { return a.listGateways(cmd.Context(), format) }
	const short = "List the gateways: the policy each enforces, its answers, its tunnels"
	cmd := &cobra.Command{Use: "gateways", Short: short, Args: cobra.NoArgs, RunE: list}
	again := &cobra.Command{Use: "list", Short: short, Args: cobra.NoArgs, RunE: list}
	formatFlag(cmd, &format)
	formatFlag(again, &format)
	cmd.AddCommand(again, a.gatewaysAdd(), a.gatewaysRevoke(), a.gatewaysRestore())
	return cmd
}

// listGateways says of a stopped mesh what was known last.
func (a *app) listGateways(ctx context.Context, format render.Format) error {
	return a.ask(ctx, func(c *connection) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		r, err := controlv1.NewGatewayServiceClient(c).ListGateways(ctx, &controlv1.ListGatewaysRequest{})
		if err != nil {
			return answered("list gateways", c, err)
		}
		return listed(a, format, "gateway", r.GetGateways(), func(w io.Writer, all []*controlv1.GatewayStatus) error {
			return render.Gateways(w, all, c.Stopped)
		})
	})
}

// call connects and asks one question with one answer.
func call[C, Q, R any](ctx context.Context, a *app, doing string, method func(C, context.Context, Q, ...grpc.CallOption) (R, error),
	client func(grpc.ClientConnInterface) C, question Q,
) (R, error) {
	var answer R
	err := a.ask(ctx, func(c *connection) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		var err error
		answer, err = method(client(c), ctx, question)
		return answered(doing, c, err)
	})
	return answer, err
}

// listed prints a list of messages; an empty one is a no.
func listed[M proto.Message](a *app, format render.Format, what string, items []M, table func(io.Writer, []M) error) error {
	list := make(render.List, len(items))
	for i, m := range items {
		list[i] = render.Message(m)
	}
	if err := a.print(format, list, func(w io.Writer) error { return table(w, items) }); err != nil {
		return err
	}
	return found(len(items), what)
}
