package proof

import (
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/frame"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// Side is one gateway's account.
type Side struct {
	frame.Account

	// Gateway is its SPIFFE ID.
	Gateway string
}

// Sides are the accounts that are shown, the egress gateway's first.
func (c *Crossing) Sides() (all []Side) {
	for _, s := range []Side{{c.Egress, c.Chain.Egress}, {c.Ingress, c.Chain.Ingress}} {
		if s.Open != nil || s.Close != nil {
			all = append(all, s)
		}
	}
	return all
}

// First is the opening that says who called whom: the egress gateway's if it is shown; nil
// if none is.
func (c *Crossing) First() *wire.Message {
	if c.Egress.Open != nil {
		return c.Egress.Open
	}
	return c.Ingress.Open
}

// Covers are what a statement says of the crossing: that it opened, that it ended.
func (c *Crossing) Covers(s *statement.Statement) (all []string) {
	if s.First <= c.Number && c.Number < s.Next {
		all = append(all, "opening")
	}
	if statement.Has(s.Closed, c.Number) {
		all = append(all, "end")
	}
	return all
}

// Goes says that by the statement's answer the crossing goes on at the ingress gateway.
func (c *Crossing) Goes(s *statement.Statement) bool {
	return s.Answer != nil && statement.Has(s.Answer.Deferred, c.Number)
}
