package exchange

import (
	"slices"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/digest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// movement is the account of a transfer while it streams. Most exchanges have none: it
// is nil, and takes what passes for nothing.
type movement struct {
	transfer transfer.Transfer
	declared []digest.Declared

	// For whoever passes the content on, until the crossing ends.
	content  digest.Content
	trailers l7.Fields
	whole    bool // it came to its right end
}

// pass digests content that went on.
func (m *movement) pass(b []byte) {
	if m != nil {
		m.content.Write(b) //nolint:errcheck // it never fails
	}
}

// finish says that there is no more content.
func (m *movement) finish(trailers l7.Fields) {
	if m != nil {
		m.whole, m.trailers = true, slices.Clone(trailers)
	}
}

// record is what the crossing's record says of it; nothing passes any more.
func (m *movement) record() *crossingv1.Transfer {
	sum := m.content.BreakOff
	if m.whole {
		sum = m.content.Finish
	}
	return sum().Record(&m.transfer, append(m.declared, digest.InTrailers(&m.transfer, m.trailers)...))
}

// uploads begins the account of what a request carries, if that is an object.
func (a *account) uploads(p transfer.Parties, req *l7.RequestHead, empty bool) {
	if !transfer.IsUpload(p.Protocol, req, empty) {
		return
	}
	if t, ok := transfer.Of(p, req, nil); ok {
		a.up = &movement{transfer: t, declared: digest.Declarations(&t, req, nil)}
		if empty {
			a.up.finish(nil)
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
		a.up.transfer, a.up.declared = t, digest.Declarations(&t, req, answer)
	default:
		a.down = &movement{transfer: t, declared: digest.Declarations(&t, req, answer)}
		if empty {
			a.down.finish(nil)
		}
	}
}

// transferred is what the exchange moved of an object, nil if nothing.
func (a *account) transferred() *crossingv1.Transfer {
	switch {
	case a.up != nil:
		return a.up.record()
	case a.down != nil:
		return a.down.record()
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
