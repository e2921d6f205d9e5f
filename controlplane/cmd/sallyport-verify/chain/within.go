package chain

import (
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
)

// Log is one that should have what gateways of its trust domain have signed.
type Log struct {
	// Origin of it, and its trust domain.
	Origin, TrustDomain string
	// First and Last are when it took its first entry and its last one.
	First, Last time.Time
}

// Late is how long what a gateway has signed may be on its way to a log, before it is
// missed there.
const Late = 20 * time.Second

// expects says whether a log should have what was signed at that time.
func (l *Log) expects(at time.Time) bool { return at.After(l.First) && at.Add(Late).Before(l.Last) }

// Within finds which of the chain's statements a log does not have, although another one
// does. Each gateway delivers what it signs, and what it was answered, to its own.
func (c *Chain) Within(l Log) (all []finding.Finding) {
	egress, _ := spiffe.TrustDomain(c.Name.Egress)
	ingress, _ := spiffe.TrustDomain(c.Name.Ingress)
	for _, n := range c.Epochs() {
		claim := c.Claim(n)
		if egress == l.TrustDomain && l.expects(claim.At) && !l.has(claim.Delivered, c.Name.Egress) {
			all = append(all, c.lacks(l, n, "the claim of %s, which is in another log", c.Name.Egress))
		}
		if a := claim.Answered(); a != nil && ingress == l.TrustDomain && l.expects(a.At) && !l.has(a.Delivered, c.Name.Ingress) {
			all = append(all, c.lacks(l, n, "the answer of %s, which is in another log", c.Name.Ingress))
		}
	}
	return all
}

func (l *Log) has(all []Delivery, gateway string) bool {
	return slices.ContainsFunc(all, func(d Delivery) bool { return d.Log == l.Origin && d.Gateway == gateway })
}

func (c *Chain) lacks(l Log, epoch uint64, what, gateway string) finding.Finding {
	f := finding.Of(finding.Fault, finding.Dropped, c.Name, epoch, 0, "the log does not have "+what, spiffe.Name(gateway))
	f.Log = l.Origin
	return f
}

// Stands finds what is wrong with a heartbeat's word on the chain. The log that has it has
// taken what was claimed before it.
func (c *Chain) Stands(s statement.Standing, gateway string, d Delivery, l Log) (all []finding.Finding) {
	if s.Epoch == 0 || !l.expects(d.Entered) {
		return nil
	}
	at := func(k finding.Kind, why string, args ...any) {
		f := finding.Of(finding.Fault, k, c.Name, s.Epoch, 0, why, args...)
		f.Log, f.Index = d.Log, &d.Index
		all = append(all, f)
	}
	last := c.Last()
	switch {
	case last == nil || s.Epoch > last.Epoch:
		at(finding.DroppedTail, "%s has signed that this epoch was claimed, and no log has it, nor any after it", spiffe.Name(gateway))
	case len(c.epochs[s.Epoch]) > 0 && !c.Has(s.Epoch, s.Claim):
		at(finding.Fork, "%s has signed that its claim is %x, and the log has %x", spiffe.Name(gateway), s.Claim[:4], c.Claim(s.Epoch).Hash[:4])
	}
	return all
}
