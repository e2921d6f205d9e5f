package chain

import (
	"bytes"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
)

// expired finds what was signed with a key that was not the gateway's any more. A
// gateway's clock is its own word, and whoever has stolen an expired key can put any time
// into what he signs with it. So two things are asked:
//
//   - that its time is within that of the SVIDs that announced the key;
//   - that it came into a log while one of them was good, or within trust.Grace. If it came
//     later, it must be what a claim names by its hash that came in time, itself or through
//     others: that claim was signed when nobody could have known of another.
func (c *Chain) expired() (all []finding.Finding) {
	epochs := c.Epochs()
	v := vouched{}
	for at := len(epochs) - 1; at >= 0; at-- {
		after := c.epochs[epochs[at]+1]
		for _, claim := range c.epochs[epochs[at]] {
			v[claim] = timely(claim) || slices.ContainsFunc(after, func(next *Claim) bool {
				return v[next] && bytes.Equal(next.Previous, claim.Hash[:])
			})
			all = append(all, c.claimed(claim, v)...)
			for _, a := range claim.Answers {
				all = append(all, c.answered(claim, a, v, after)...)
			}
		}
	}
	return all
}

// vouched are claims that came in time, or that such a claim follows.
type vouched map[*Claim]bool

func timely(claim *Claim) bool { return claim.Key.Timely(entered(claim.Delivered).Entered) }

func (c *Chain) claimed(claim *Claim, v vouched) []finding.Finding {
	who := spiffe.Name(c.Name.Egress)
	if !claim.Key.Covers(claim.At) {
		return []finding.Finding{c.at(finding.Fault, finding.BackDated, claim,
			"%s claims it at %s, and the SVIDs that announced its key were good from %s to %s", who, clock(claim.At), clock(claim.Key.From), clock(claim.Key.Until))}
	}
	if v[claim] {
		return nil
	}
	d := entered(claim.Delivered)
	return []finding.Finding{c.at(finding.Fault, finding.BackDated, claim,
		"the claim of %s is dated %s and came into a log at %s, when the SVIDs that announced its key had expired at %s; no claim that came in time follows it",
		who, clock(claim.At), clock(d.Entered), clock(claim.Key.Until))}
}

func (c *Chain) answered(claim *Claim, a *Answer, v vouched, after []*Claim) []finding.Finding {
	who := spiffe.Name(c.Name.Ingress)
	if !a.Key.Covers(a.At) {
		return []finding.Finding{c.at(finding.Fault, finding.BackDated, claim,
			"%s answers it at %s, and the SVIDs that announced its key were good from %s to %s", who, clock(a.At), clock(a.Key.From), clock(a.Key.Until))}
	}
	d := entered(a.Delivered)
	if a.Key.Timely(d.Entered) || slices.ContainsFunc(after, func(next *Claim) bool {
		return v[next] && bytes.Equal(next.Statement.Answered, a.Hash[:])
	}) {
		return nil
	}
	return []finding.Finding{c.at(finding.Fault, finding.BackDated, claim,
		"the answer of %s is dated %s and came into a log at %s, when the SVIDs that announced its key had expired at %s; no claim that came in time countersigns it",
		who, clock(a.At), clock(d.Entered), clock(a.Key.Until))}
}

func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05") }
