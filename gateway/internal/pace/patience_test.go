package pace

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// TestPatience: a wait that takes too long is ended, and no other, however many
// there were before and are after it.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Patience
		short := func() {
			for range 30 {
				s := newNoted()
				p.Limit(s)
				<-time.After(PeerPatience - 1)
				p.Over()
				<-time.After(PeerPatience / 3)
				s.wantResets(t)
			}
		}
		short()
		s := newNoted()
		p.Limit(s)
		<-time.After(PeerPatience - 1)
		s.wantResets(t)
		<-time.After(PeerPatience + 2)
		p.Over()
		s.wantResets(t, tunnel.ProtocolError)
		short()
	})
}
