//go:build !linux

package tcptunnel

import (
	"net"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// tune leaves the socket as it is: what it would set, this system has not.
func tune(net.Conn, tunnel.Class) {}

// path knows nothing of a connection.
type path struct{}

func (*path) of(net.Conn)                 {}
func (*path) due(time.Time) bool          { return false }
func (*path) loss(before float64) float64 { return before }
