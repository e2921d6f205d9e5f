package attach

import (
	"net"
	"slices"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/localpeer"
)

// doorkeeper is a listener that lets some users in. Others find their connection
// closed.
type doorkeeper struct {
	net.Listener
	uids []uint32
	log  *zap.Logger
}

// Accept implements net.Listener.
func (d *doorkeeper) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := localpeer.Of(c)
		if err == nil && slices.Contains(d.uids, peer.UID) {
			return c, nil
		}
		d.log.Warn("caller refused: not a user who may be this workload", zap.Uint32("uid", peer.UID), zap.Error(err))
		c.Close()
	}
}
