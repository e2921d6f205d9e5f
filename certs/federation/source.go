package federation

import (
	"context"

	"github.com/sallyport-mesh/sallyport/certs"
)

// Join makes a keeper for a source: the source checks others with the keeper's
// bundles, and its own are the anchors. Dir, Peers and Log of the Config count.
func Join(source *certs.Source, cfg Config) (*Keeper, error) {
	cfg.Self, cfg.Anchor, cfg.OnChange = source.TrustDomain(), source.Anchor, source.Notify
	k, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	source.SetForeign(k)
	return k, nil
}

// FollowAnchors reconsiders whenever the source that the keeper was joined to
// changes, until ctx ends.
func (k *Keeper) FollowAnchors(ctx context.Context, source *certs.Source) error {
	updated, stop := source.Subscribe()
	defer stop()
	for {
		k.Reconsider()
		select {
		case <-ctx.Done():
			return nil
		case <-updated:
		}
	}
}
