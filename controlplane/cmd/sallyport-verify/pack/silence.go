package pack

import (
	"maps"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/chain"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
)

const (
	// maxSilence is how long a gateway may say nothing: two heartbeats, and what timers
	// may be late.
	maxSilence = 21 * time.Second
	// maxTold is how many silences of one gateway are looked into.
	maxTold = 1000
)

// voice is when a gateway said something, by its own clock, in which run.
type voice struct {
	at   time.Time
	run  string
	from chain.Delivery
}

func (c *checker) speak(gateway string, v voice) { c.voices[gateway] = append(c.voices[gateway], v) }

// silences finds the times in which a gateway said nothing, by its own clock; and that
// nothing of it came any more into a log that went on, by the log's.
func (c *checker) silences() {
	for _, gateway := range slices.Sorted(maps.Keys(c.voices)) {
		all := c.voices[gateway]
		slices.SortStableFunc(all, func(x, y voice) int { return x.at.Compare(y.at) })
		told, heard := 0, map[string]voice{}
		for i, v := range all {
			if v.from.Entered.After(heard[v.from.Log].from.Entered) {
				heard[v.from.Log] = v
			}
			if i > 0 && v.at.Sub(all[i-1].at) > maxSilence && told < maxTold {
				told++
				c.Findings.Add(c.silent(gateway, all[i-1], v))
			}
		}
		c.stopped(gateway, all[len(all)-1], heard)
		delete(c.voices, gateway)
	}
}

// silent is that a gateway said nothing between two words. If all that it had a part in was
// stated to the end, and a new run began, it had stopped: then nothing is missing.
func (c *checker) silent(gateway string, last, next voice) finding.Finding {
	f := finding.In(finding.Fault, finding.Silence, next.from.Log, next.from.Index, "%s said nothing from %s to %s, for %s",
		spiffe.Name(gateway), clock(last.at), clock(next.at), next.at.Sub(last.at).Round(time.Second))
	if next.run != last.run && c.over(gateway, last.at) {
		f.Weight = finding.Note
		f.Why += ": nothing was left to state, and a new run began"
	}
	return f
}

// stopped finds that a gateway's own log went on without it.
func (c *checker) stopped(gateway string, word voice, heard map[string]voice) {
	td, _ := spiffe.TrustDomain(gateway)
	for _, l := range c.logs {
		last, is := heard[l.Origin]
		if l.TrustDomain != td || !is || l.Last.Sub(last.from.Entered) <= maxSilence {
			continue
		}
		f := finding.In(finding.Fault, finding.Silence, l.Origin, last.from.Index, "%s said nothing after %s, and the log goes on to %s",
			spiffe.Name(gateway), clock(word.at), clock(l.Last))
		if c.over(gateway, word.at) {
			f.Weight = finding.Note
			f.Why += ": nothing was left to state"
		}
		c.Findings.Add(f)
	}
}

// over says that by then, or right after, every chain that the gateway had a part in had
// its final claim.
func (c *checker) over(gateway string, at time.Time) bool {
	for _, name := range c.names {
		if name.Egress != gateway && name.Ingress != gateway {
			continue
		}
		ch := c.chains[name]
		began, last := ch.Claim(ch.Epochs()[0]).Since, ch.Last()
		if !began.After(at) && !(last.Final && !last.At.After(at.Add(maxSilence))) {
			return false
		}
	}
	return true
}
