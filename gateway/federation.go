package gateway

import (
	"context"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs/federation"
)

// federate has peers and the control plane checked with the last good bundles of
// their trust domains: those that the Workload API gives are where it begins.
func (g *Gateway) federate(b *bootstrap) error {
	var peers []spiffeid.TrustDomain
	for _, e := range b.endpoints {
		peers = append(peers, e.TrustDomain())
	}
	var err error
	g.bundles, err = federation.Join(g.source, federation.Config{
		Peers: peers, Dir: filepath.Join(b.GetStateDir(), "federation"), Log: g.log,
	})
	g.follower = federation.Follower{Keeper: g.bundles, Endpoints: b.endpoints, Log: g.log}
	return err
}

// runFederation follows the bundle endpoints and the Workload API until ctx ends.
func (g *Gateway) runFederation(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.follower.Run(ctx) })
	group.Go(func() error { return g.bundles.FollowAnchors(ctx, g.source) })
	return group.Wait()
}
