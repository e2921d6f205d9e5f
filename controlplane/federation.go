package controlplane

import (
	"context"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/bundles"
)

// keptBundles is the directory of last good bundles, in that of the store or of
// the authority.
const keptBundles = "federation"

// federate makes what keeps the bundles of other trust domains current and carries
// what they say of them.
func (c *ControlPlane) federate(ctx context.Context) error {
	dir := ""
	if c.config.Dir != "" {
		dir = filepath.Join(c.config.Dir, keptBundles)
	}
	var err error
	c.keeper, err = federation.Join(c.source, federation.Config{Peers: trustDomains(c.config.Federation), Dir: dir, Log: c.log})
	if err != nil {
		return err
	}
	c.carried, err = bundles.New(ctx, bundles.Config{
		Store: c.store.Bundles(), Self: c.source.TrustDomain(), Roots: c.source, Keeper: c.keeper, Log: c.log,
	})
	return err
}

func trustDomains(endpoints []federation.Endpoint) []spiffeid.TrustDomain {
	tds := make([]spiffeid.TrustDomain, 0, len(endpoints))
	for _, e := range endpoints {
		tds = append(tds, e.TrustDomain())
	}
	return tds
}

// runFederation follows endpoints and anchors, and hands signed bundles on to
// gateways, until ctx ends.
func (c *ControlPlane) runFederation(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	follower := federation.Follower{Keeper: c.keeper, Endpoints: c.config.Federation, Log: c.log}
	group.Go(func() error { return follower.Run(ctx) })
	group.Go(func() error { return c.keeper.FollowAnchors(ctx, c.source) })
	group.Go(func() error { return c.carried.Run(ctx) })
	group.Go(func() error { return c.handOn(ctx) })
	return group.Wait()
}

func (c *ControlPlane) handOn(ctx context.Context) error {
	for {
		all, changed := c.carried.Newest()
		if err := c.view.xds.SetBundles(all); err != nil {
			c.log.Error("bundles not served", zap.Error(err))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
