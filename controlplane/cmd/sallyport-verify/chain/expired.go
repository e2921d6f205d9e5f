package chain

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
)

// expired finds what was signed with a key that was not the gateway's any more. A
// gateway's clock is its own word, and whoever has stolen an expired key can put any time
// into what he signs with it. So two things are asked:
//
//   - that its time is not after the last of the SVIDs that announced the key;
//   - that it came into a log while one of them was good, or within trust.Grace. If it came
//     later, it must be what a claim names by its hash that came in time, itself or through
//     others: that claim was signed when nobody could have known of another.
//
// It may be from before the first of them: what one process of a gateway had signed, the
// next one signs again with its own key.
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

func timely(claim *Claim) bool { return anyTimely(claim.Delivered) }

func anyTimely(all []Delivery) bool {
	return slices.ContainsFunc(all, func(d Delivery) bool { return d.Key.Timely(d.Entered) })
}

// judge says what is wrong with the time of what a gateway has signed, and why nobody
// vouches for it; empty if nothing is.
func judge(who string, at time.Time, all []Delivery, vouched bool) string {
	d := entered(all)
	switch {
	case !slices.ContainsFunc(all, func(d Delivery) bool { return d.Key.Covers(at) }):
		return fmt.Sprintf("%s dates it %s, and the last SVID that announced its key was good until %s", who, clock(at), clock(d.Key.Until))
	case !vouched && !anyTimely(all):
		return fmt.Sprintf("%s dates it %s, and it came into a log at %s: the last SVID that announced its key was good until %s, and nothing that came in time follows it",
			who, clock(at), clock(d.Entered), clock(d.Key.Until))
	}
	return ""
}

func (c *Chain) claimed(claim *Claim, v vouched) (all []finding.Finding) {
	if why := judge(spiffe.Name(c.Name.Egress), claim.At, claim.Delivered, v[claim]); why != "" {
		all = append(all, c.at(finding.Fault, finding.BackDated, claim, "claim: %s", why))
	}
	return all
}

func (c *Chain) answered(claim *Claim, a *Answer, v vouched, after []*Claim) (all []finding.Finding) {
	named := slices.ContainsFunc(after, func(next *Claim) bool { return v[next] && bytes.Equal(next.Statement.Answered, a.Hash[:]) })
	if why := judge(spiffe.Name(c.Name.Ingress), a.At, a.Delivered, named); why != "" {
		all = append(all, c.at(finding.Fault, finding.BackDated, claim, "answer: %s", why))
	}
	return all
}

func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05") }
