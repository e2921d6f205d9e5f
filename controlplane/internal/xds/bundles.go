package xds

import (
	"fmt"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// bundles are the signed bundles that all gateways get. They are public, and each
// gateway checks them itself.
type bundles struct {
	cache *cache.LinearCache

	mu     sync.Mutex // guards served, and is held over a change of the cache
	served map[string]types.Resource
}

func newBundles() *bundles {
	return &bundles{cache: cache.NewLinearCache(TypeBundle), served: map[string]types.Resource{}}
}

// SetBundles replaces the signed bundles that gateways get: one for each trust
// domain.
func (s *Server) SetBundles(all []*configv1.SignedBundle) error {
	b := s.bundles
	b.mu.Lock()
	defer b.mu.Unlock()
	wanted, changed := make(map[string]types.Resource, len(all)), map[string]types.Resource{}
	for _, signed := range all {
		name := signed.GetTrustDomain()
		wanted[name] = signed
		if before, ok := b.served[name]; !ok || !proto.Equal(before, signed) {
			changed[name] = signed
		}
	}
	var gone []string
	for name := range b.served {
		if _, ok := wanted[name]; !ok {
			gone = append(gone, name)
		}
	}
	if len(changed)+len(gone) == 0 {
		return nil
	}
	b.served = wanted
	if err := b.cache.UpdateResources(changed, gone); err != nil {
		return fmt.Errorf("serve bundles: %w", err)
	}
	return nil
}
