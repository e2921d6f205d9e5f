package exchange

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/digest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// uploads begins the account of what a request carries, if that is an object.
func (a *account) uploads(p transfer.Parties, req *l7.RequestHead, empty bool) {
	if !transfer.IsUpload(p.Protocol, req, empty) {
		return
	}
	if t, ok := transfer.Of(p, req, nil); ok {
		a.up = digest.NewMovement(t, digest.Declarations(&t, req, nil))
		if empty {
			a.up.Finish(nil)
		}
	}
}

// downloads begins the account of what an answer carries, if that is an object, or
// notes what it says of an upload.
func (a *account) downloads(p transfer.Parties, req *l7.RequestHead, answer *l7.ResponseHead, empty bool) {
	if a.up == nil && !transfer.IsDownload(p.Protocol, req, answer) {
		return
	}
	t, ok := transfer.Of(p, req, answer)
	switch {
	case !ok:
	case a.up != nil:
		a.up.Answered(t, digest.Declarations(&t, req, answer))
	default:
		a.down = digest.NewMovement(t, digest.Declarations(&t, req, answer))
		if empty {
			a.down.Finish(nil)
		}
	}
}

// transferred is what the exchange moved of an object, nil if nothing.
func (a *account) transferred() *crossingv1.Transfer {
	switch {
	case a.up != nil:
		return a.up.Record()
	case a.down != nil:
		return a.down.Record()
	}
	return nil
}

// parties of a transfer, as the egress gateway's header names them.
func (d *departure) parties() transfer.Parties {
	s := d.verdict.Service
	return transfer.Parties{
		Caller: d.req.Caller.ID.String(), Destination: d.verdict.Workload.ID.String(), Service: s.Name, Protocol: s.Protocol,
	}
}

// parties are as the header names them, so that both gateways come to the same.
func (a *arrival) parties() transfer.Parties {
	return transfer.Parties{
		Caller: a.header.GetSource(), Destination: a.header.GetDestination(), Service: a.header.GetService(),
		Protocol: a.verdict.Service.Protocol,
	}
}
