package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/sealed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func (a *app) sealedCommand() *cobra.Command {
	ask := func(ctx context.Context, doing string, question func(context.Context, controlv1.SealedServiceClient) error) error {
		_, err := call(ctx, a, doing, func(c controlv1.SealedServiceClient, ctx context.Context, _ any, _ ...grpc.CallOption) (any, error) {
			return nil, question(ctx, c)
		}, controlv1.NewSealedServiceClient, nil)
		return err
	}
	return sealed.Command(sealed.Tool{Ask: ask, Print: a.print, Found: found, Format: formatFlag})
}
