package controlplane

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/federation"
)

// BundlesConfig is what the bundles role is made of: it publishes the bundle of an
// issuer that is no authority of ours, such as a SPIRE server.
type BundlesConfig struct {
	// WorkloadAPI gives it an SVID of spiffe://TRUST-DOMAIN/sallyport/authority/NAME
	// and the bundle of the control plane's trust domain; SPIFFE_ENDPOINT_SOCKET if
	// empty.
	WorkloadAPI string
	// Endpoint is the issuer's own bundle endpoint.
	Endpoint federation.Endpoint
	// ControlPlane is who carries the bundle.
	ControlPlane ControlPlaneAddress
	// Ready is called when it begins to publish. It may be nil.
	Ready func()
	// Log takes the log; nil for none.
	Log *zap.Logger
}

// RunBundles publishes until ctx ends.
func RunBundles(ctx context.Context, cfg BundlesConfig) (err error) {
	first, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	source, err := certs.NewSource(first, certs.Options{WorkloadAPI: cfg.WorkloadAPI, Log: cfg.Log})
	if err != nil {
		return fmt.Errorf("get the SVID to publish bundles with: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	k, err := federation.Join(source, federation.Config{Log: cfg.Log})
	if err != nil {
		return err
	}
	issuer, err := federation.NewWorkloadAuthority(first, source, k, cfg.Endpoint, cfg.Log)
	if err != nil {
		return err
	}
	p, err := federation.NewPublisher(issuer, cfg.Log)
	if err != nil {
		return err
	}
	if cfg.Ready != nil {
		cfg.Ready()
	}
	c := federation.Channel{Address: cfg.ControlPlane.Address, ID: cfg.ControlPlane.ID, Publisher: p, Keeper: k, Log: cfg.Log}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return issuer.Run(ctx) })
	group.Go(func() error { return p.Run(ctx) })
	group.Go(func() error { return k.FollowAnchors(ctx, source) })
	group.Go(func() error { return c.Run(ctx) })
	return group.Wait()
}
