package exchange

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/artifact"
	"github.com/sallyport-mesh/sallyport/gateway/internal/opening"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// bulkRequest is the length of a request, in bytes, from which it is bulk
// whatever its service speaks.
const bulkRequest = 1 << 20

// classOf is the class of a crossing's traffic, as far as its head tells: what
// moves images, models and data sets is bulk. A crossing that turns out to be
// bulk later turns its connection so.
func classOf(s *policy.Service, head *l7.RequestHead) tunnel.Class {
	if s != nil && artifact.Kept(s.Protocol) {
		return tunnel.Bulk
	}
	if n, known, err := head.Fields.ContentLength(); known && err == nil && n >= bulkRequest {
		return tunnel.Bulk
	}
	return tunnel.Interactive
}

// moved records the tunnel that carries the crossing, if it is another one than
// it opened in.
func (a *account) moved() {
	if info, moved := tunnel.Moved(a.stream); moved {
		a.close.Tunnel = new(opening.Carriage).Of(info)
	}
}
