package simulation

import (
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// soon is how many epochs after the one that claims a number a difference may be named
// at most: an end may be put off once.
const soon = 1

// atEnd are the kinds of differences that show when a crossing has ended; all others show
// when it opens.
var atEnd = []string{
	crossingv1.Difference_ENDED_OTHERWISE.String(), crossingv1.Difference_UNENDED.String(), crossingv1.Difference_UNCLAIMED_END.String(),
	crossingv1.Difference_BROKEN_OFF.String(), crossingv1.Difference_DENIED.String(),
}

// judgePromptness: a difference is named in the epoch that claims the number's opening or
// end, or in the next. That counts from the first epoch after the crossing has ended at
// both gateways, and, where a blow was near, after both are well again. That a number is
// not claimed, the final claim says.
func (o *oracle) judgePromptness() {
	for at, crossed := range o.at {
		opened, ended := o.control.claimedIn(at)
		if opened == 0 {
			continue
		}
		well, over := time.Time{}, time.Time{}
		for _, x := range crossed {
			well = latest(well, x.again, o.wellAgain(x))
			over = latest(over, well, o.over[x.plan])
		}
		for _, n := range o.names[at] {
			if _, is := crossingv1.Difference_Kind_value[n.what]; !is {
				continue
			}
			from := max(opened, o.firstAfter(at.chain, well))
			if slices.Contains(atEnd, n.what) {
				from = max(from, ended, o.firstAfter(at.chain, over))
			}
			if n.epoch > from+soon {
				o.fault("%s: %s, and epoch %d could have named it", crossed, n, from)
			}
		}
	}
}

// wellAgain is when the last blow that may have touched a crossing was over; zero if none
// has.
func (o *oracle) wellAgain(x *crossed) (last time.Time) {
	for _, f := range o.faults {
		if x.around(func(from, to time.Time) bool { return o.touches(f, x.chain, from, to) }) {
			last = latest(last, f.ended)
		}
	}
	return last
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

// firstAfter is the first epoch that was claimed after that time; the last one if none
// was, and 0 without a time.
func (o *oracle) firstAfter(c statement.Chain, at time.Time) (epoch uint64) {
	k := o.control.chains[c]
	if at.IsZero() || k == nil {
		return 0
	}
	for _, s := range k.epochs() {
		if epoch = s.Claim.GetEpoch(); o.claimedAt(s).After(at) {
			break
		}
	}
	return epoch
}

// claimedAt is when a claim was made, in virtual time: that of the process whose clock
// puts it into its own time.
func (o *oracle) claimedAt(s *statement.Stated) (at time.Time) {
	i := slices.IndexFunc(o.gateways, func(g *gateway) bool { return g.id.String() == s.Chain.Egress })
	for n, run := range o.gateways[i].runs {
		at = s.Claim.GetAt().AsTime().Add(-run.clock)
		last := n == len(o.gateways[i].runs)-1
		if !at.Before(run.began) && (last || at.Before(o.gateways[i].runs[n+1].began)) {
			break
		}
	}
	return at
}

// claimedIn are the first epochs that claim the opening and the end of a number; 0 of
// what none does. The caller holds mu.
func (c *control) claimedIn(at place) (opened, ended uint64) {
	k := c.chains[at.chain]
	if k == nil {
		return 0, 0
	}
	for _, s := range k.epochs() {
		if opened == 0 && s.Claim.GetFirst() <= at.number && at.number < s.Claim.GetNext() {
			opened = s.Claim.GetEpoch()
		}
		if ended == 0 && slices.Contains(s.Closed(), at.number) {
			ended = s.Claim.GetEpoch()
		}
	}
	return opened, ended
}
