package api

import (
	"context"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// bundleService is BundleService.
type bundleService struct {
	controlv1.UnimplementedBundleServiceServer
	bundles  Bundles
	gateways *gateways
	self     func() (Bootstrap, error)
	journal  *journal
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
	s.journal.bundle(req.GetSigned())
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

// ListHolders is who else holds the bundle of the caller's trust domain.
func (s *bundleService) ListHolders(ctx context.Context, _ *controlv1.ListHoldersRequest) (*controlv1.ListHoldersResponse, error) {
	caller, err := Peer(ctx)
	if err != nil {
		return nil, err
	}
	self, err := s.self()
	if err != nil {
		return nil, err
	}
	resp := new(controlv1.ListHoldersResponse)
	hold := func(id string, bundles []*controlv1.BundleStatus) error {
		who, err := spiffeid.FromString(id)
		if err != nil || who.TrustDomain() == caller.TrustDomain() {
			return err
		}
		resp.Holders = append(resp.Holders, &controlv1.BundleHolder{Id: id, Sequence: sequenceOf(bundles, caller.TrustDomain().Name())})
		return nil
	}
	if err := hold(self.ID, s.bundles.States()); err != nil {
		return nil, err
	}
	for _, g := range s.gateways.list() {
		if err := hold(g.GetId(), g.GetReport().GetBundles()); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

func sequenceOf(bundles []*controlv1.BundleStatus, td string) uint64 {
	for _, b := range bundles {
		if b.GetTrustDomain() == td {
			return b.GetSequence()
		}
	}
	return 0
}
