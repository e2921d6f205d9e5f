package tunnel

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
)

// Expel closes the tunnels to these gateways now. What is open in them is reset. That
// there are no further ones is the handshake's matter.
func (p *Pool) Expel(gateways ...spiffeid.ID) {
	if len(gateways) == 0 {
		return
	}
	p.mu.Lock()
	members := slices.Clone(p.members)
	p.mu.Unlock()
	for _, m := range members {
		if slices.Contains(gateways, m.id) {
			p.cfg.Log.Warn("tunnel closed: a gateway is revoked", zap.Stringer("peer", m.id))
			m.Close() // it has ended either way
		}
	}
}
