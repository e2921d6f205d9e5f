package exchange

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
		var p patience
		short := func() {
			for range 30 {
				s := new(noted)
				p.limit(s)
				<-time.After(peerPatience - 1)
				p.over()
				<-time.After(peerPatience / 3)
				s.wantResets(t)
			}
		}
		short()
		s := new(noted)
		p.limit(s)
		<-time.After(peerPatience - 1)
		s.wantResets(t)
		<-time.After(peerPatience + 2)
		p.over()
		s.wantResets(t, tunnel.ProtocolError)
		short()
	})
}
