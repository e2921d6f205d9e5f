package api

import (
	"context"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// bundleService is BundleService.
type bundleService struct {
	controlv1.UnimplementedBundleServiceServer
	bundles Bundles
}

// Publish takes the bundle of the caller's own trust domain.
func (s *bundleService) Publish(ctx context.Context, req *controlv1.PublishBundleRequest) (*controlv1.PublishBundleResponse, error) {
	caller, err := Peer(ctx)
	if err != nil {
		return nil, err
	}
	if td := req.GetSigned().GetTrustDomain(); td != caller.TrustDomain().Name() {
		return nil, denied("%s may not publish the bundle of %.256q", caller, td)
	}
	if err := s.bundles.Publish(ctx, req.GetSigned()); err != nil {
		return nil, err
	}
	return &controlv1.PublishBundleResponse{}, nil
}

// Watch sends what is newest, and again what changes, until the caller leaves.
func (s *bundleService) Watch(_ *controlv1.WatchBundlesRequest, stream controlv1.BundleService_WatchServer) error {
	sent := map[string]*configv1.SignedBundle{}
	for {
		all, changed := s.bundles.Newest()
		for _, signed := range all {
			if sent[signed.GetTrustDomain()] == signed {
				continue
			}
			if err := stream.Send(signed); err != nil {
				return err
			}
			sent[signed.GetTrustDomain()] = signed
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// ListBundles is what the control plane holds.
func (s *bundleService) ListBundles(context.Context, *controlv1.ListBundlesRequest) (*controlv1.ListBundlesResponse, error) {
	return &controlv1.ListBundlesResponse{Bundles: s.bundles.States()}, nil
}
