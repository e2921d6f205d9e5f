package pack

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
)

// maxSilence is how long a gateway may say nothing: two heartbeats.
const maxSilence = 20 * time.Second

// slack is what timers may be late.
const slack = time.Second

// silences finds the times in which a gateway said nothing, by its own clock; and that
// nothing of it came any more into a log that went on, by the log's. A gateway whose last
// word was a final claim has stopped in order.
func (c *checker) silences() {
	for _, gateway := range slices.Sorted(maps.Keys(c.voices)) {
		all := c.voices[gateway]
		slices.SortStableFunc(all, func(x, y voice) int { return x.at.Compare(y.at) })
		last, heard := all[0], map[string]voice{}
		for _, v := range all {
			if v.from.Entered.After(heard[v.from.Log].from.Entered) {
				heard[v.from.Log] = v
			}
			if gap := v.at.Sub(last.at); gap > maxSilence+slack && !last.final {
				f := finding.In(finding.Fault, finding.Silence, v.from.Log, v.from.Index, "%s said nothing from %s to %s, for %s",
					spiffe.Name(gateway), clock(last.at), clock(v.at), gap.Round(time.Second))
				c.Findings.Add(f)
			}
			if v.at.After(last.at) || v.final {
				last = v
			}
		}
		if !last.final {
			c.stopped(gateway, heard)
		}
		delete(c.voices, gateway)
	}
}

// stopped finds that a gateway's own log went on without it.
func (c *checker) stopped(gateway string, heard map[string]voice) {
	td, _ := spiffe.TrustDomain(gateway)
	for _, l := range c.logs {
		last, is := heard[l.Origin]
		if l.TrustDomain != td || !is {
			continue
		}
		if gap := l.Last.Sub(last.from.Entered); gap > maxSilence+slack {
			c.Findings.Add(finding.Finding{Weight: finding.Fault, Kind: finding.Silence, Log: l.Origin, Index: &last.from.Index, Why: fmt.Sprintf(
				"%s said nothing after %s, and the log goes on to %s", spiffe.Name(gateway), clock(last.at), clock(l.Last))})
		}
	}
}
