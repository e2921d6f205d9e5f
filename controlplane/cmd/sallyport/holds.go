package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/holds"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func (a *app) holdsCommand() *cobra.Command {
	ask := func(ctx context.Context, doing string, question func(context.Context, controlv1.HoldServiceClient) error) error {
		_, err := call(ctx, a, doing, func(c controlv1.HoldServiceClient, ctx context.Context, _ any, _ ...grpc.CallOption) (any, error) {
			return nil, question(ctx, c)
		}, controlv1.NewHoldServiceClient, nil)
		return err
	}
	return holds.Command(holds.Tool{Ask: ask, Print: a.print, Found: found, Format: formatFlag})
}
