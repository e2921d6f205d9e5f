package statements

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/spans"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Chain is how a chain stands.
type Chain struct {
	// Chain that it is.
	statement.Chain
	// Epochs is how many of it are known.
	Epochs int
	// Last is when the last epoch ended, by the egress gateway's clock; zero if there
	// was none.
	Last time.Time
	// Silent is since when nobody states it any more; zero if it goes on, or is over.
	Silent time.Time
	// Over says that its run has ended, and was stated to the end.
	Over bool
}

// Chains are all chains, in a fixed order.
func (b *Book) Chains(now time.Time) []Chain {
	b.mu.Lock()
	defer b.mu.Unlock()
	now = b.asOf(now)
	var all []Chain
	for _, c := range b.sorted() {
		s := Chain{Chain: c.name, Epochs: len(c.epochs), Over: c.final}
		if c.last != nil {
			s.Last = c.last.at
		}
		if f := b.silence(c, now); f != nil {
			s.Silent = f.GetSince().AsTime()
		}
		all = append(all, s)
	}
	return all
}

// AsOf is the time to judge by: of a mesh that is stopped, when it was heard last.
func (b *Book) AsOf(now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asOf(now)
}

func (b *Book) asOf(now time.Time) time.Time {
	if b.began.IsZero() {
		return b.latest
	}
	return now
}

// Findings are all that does not match between statements and frames. The caller knows
// what of it a record explains. Transition and crossing are left to it, too.
func (b *Book) Findings(now time.Time) []*controlv1.Finding {
	b.mu.Lock()
	defer b.mu.Unlock()
	now = b.asOf(now)
	var all []*controlv1.Finding
	for _, c := range b.sorted() {
		all = append(all, c.faults()...)
		all = append(all, c.alterations()...)
		all = append(all, b.losses(c, now)...)
		all = append(all, b.gaps(c, now)...)
		all = append(all, c.excesses()...)
		if f := b.silence(c, now); f != nil {
			all = append(all, f)
		}
	}
	return append(all, b.unproven(now)...)
}

// finding is one on a chain. The gateway is the one whose account is in question.
func (c *chain) finding(kind controlv1.Finding_Kind, gateway string, epoch, number uint64, since time.Time, cause string, args ...any) *controlv1.Finding {
	return &controlv1.Finding{
		Kind: kind, Gateway: gateway, Chain: c.name.Message(), Epoch: epoch, Number: number, Since: timestamppb.New(since),
		Cause: fmt.Sprintf(cause, args...),
	}
}

// faults are what the statements show by themselves.
func (c *chain) faults() []*controlv1.Finding {
	e, i := Short(c.name.Egress), Short(c.name.Ingress)
	var all []*controlv1.Finding
	for _, f := range c.found {
		if f.Fault == statement.BrokenLink && c.forkedAt(f.Epoch-1) {
			continue // the claim follows one of two
		}
		add := func(kind controlv1.Finding_Kind, gateway, cause string, args ...any) {
			all = append(all, c.finding(kind, gateway, f.Epoch, 0, f.At, cause, args...))
		}
		switch f.Fault {
		case statement.Forked:
			add(controlv1.Finding_FORKED, "", "two statements of epoch %d were signed", f.Epoch)
		case statement.BrokenLink:
			add(controlv1.Finding_BROKEN, c.name.Egress, "the claim of epoch %d does not follow the one that %s signed before it", f.Epoch, e)
		case statement.Gap:
			add(controlv1.Finding_BROKEN, c.name.Egress, "the claim of epoch %d does not begin where the one before it ended", f.Epoch)
		case statement.AfterFinal:
			add(controlv1.Finding_BROKEN, c.name.Egress, "%s claims epoch %d after its final claim", e, f.Epoch)
		case statement.Resumed:
			add(controlv1.Finding_ROLLED_BACK, c.name.Egress, "%s did not remember what it had claimed before epoch %d: its spool was lost, or put back", e, f.Epoch)
		case statement.Forgot:
			add(controlv1.Finding_ROLLED_BACK, c.name.Ingress, "%s did not remember what it had answered before epoch %d: its spool was lost, or put back", i, f.Epoch)
		case statement.Missed: // what was missed is claimed alone, and named by its numbers
		case statement.Differs:
			all = append(all, c.differences(f)...)
		}
	}
	return all
}

func (c *chain) forkedAt(epoch uint64) bool {
	return slices.ContainsFunc(c.found, func(f statement.Finding) bool { return f.Fault == statement.Forked && f.Epoch == epoch })
}

// differences are those of one kind that both gateways have signed.
func (c *chain) differences(f statement.Finding) []*controlv1.Finding {
	kind := f.Difference.Kind
	if !statement.Faulty(kind) {
		return nil // both say so
	}
	var all []*controlv1.Finding
	for _, n := range f.Difference.Numbers {
		d := c.finding(controlv1.Finding_DIFFERENCE, "", f.Epoch, n, f.At, "%s (%s)", c.words(kind), kind)
		d.Difference, d.Fields = kind, f.Difference.Fields
		all = append(all, d)
	}
	return all
}

// words say what a kind of difference means.
func (c *chain) words(kind crossingv1.Difference_Kind) string {
	e, i := Short(c.name.Egress), Short(c.name.Ingress)
	switch kind {
	case crossingv1.Difference_UNSEEN:
		return "it never came to " + i
	case crossingv1.Difference_UNRECORDED:
		return "it came to " + i + ", which refused it because it could not record it"
	case crossingv1.Difference_UNOPENED:
		return i + " has it, and " + e + " has no record of it"
	case crossingv1.Difference_OPENED_OTHERWISE:
		return "both have it, and it opened otherwise at either"
	case crossingv1.Difference_ENDED_OTHERWISE:
		return "both have it, and it ended otherwise at either"
	case crossingv1.Difference_REUSED:
		return "its number came to " + i + " with another crossing too, which was refused"
	case crossingv1.Difference_UNENDED:
		return "it ended at " + e + ", and " + i + " does not know that it did"
	case crossingv1.Difference_UNCLAIMED:
		return i + " has it, and no claim that it knows of was about it"
	case crossingv1.Difference_UNCLAIMED_END:
		return "it ended at " + i + ", and no claim that it knows of was about that"
	}
	return "the two accounts differ in a way that is not known here"
}

// alterations are the accounts that are not what was delivered.
func (c *chain) alterations() []*controlv1.Finding {
	var all []*controlv1.Finding
	for _, e := range c.altered {
		for s := range sides {
			if a := e.accounts[s]; a.altered != "" {
				all = append(all, c.finding(controlv1.Finding_ALTERED, c.gateway(s), e.number, 0, a.at,
					"the %s that %s delivered are not those that it states in epoch %d", a.altered, Short(c.gateway(s)), e.number))
			}
		}
	}
	return all
}

// losses are the frames that were stated and never came.
func (b *Book) losses(c *chain, now time.Time) []*controlv1.Finding {
	var all []*controlv1.Finding
	for _, number := range slices.Sorted(maps.Keys(c.waits)) {
		e := c.waits[number]
		for s := range sides {
			a := &e.accounts[s]
			if !a.waits() || !b.overdue(c.gateway(s), a, now) {
				continue
			}
			who := Short(c.gateway(s))
			if a.after > 0 {
				if c.epochs[a.after] == nil {
					continue // the claim of that never came, which is named
				}
				all = append(all, c.finding(controlv1.Finding_LOST, c.gateway(s), a.after, 0, a.at,
					"%s answers epoch %d after epoch %d, and its answer to that never came", who, e.number, a.after))
				continue
			}
			for n := range e.opened(s) {
				if !c.openings[s].wants(n) {
					continue
				}
				all = append(all, c.finding(controlv1.Finding_LOST, c.gateway(s), e.number, n, a.at,
					"%s states that it opened, in epoch %d, and its record of that never came", who, e.number))
			}
			for n := range e.ended(s, c.absent) {
				if !c.ends[s].wants(n) || c.openings[s].wants(n) { // the opening is named already
					continue
				}
				all = append(all, c.finding(controlv1.Finding_LOST, c.gateway(s), e.number, n, a.at,
					"%s states that it ended, in epoch %d, and its record of that never came", who, e.number))
			}
		}
	}
	return all
}

// overdue says that the frames of an account should be here. What a gateway has
// written before a statement it delivers before it; so they should when its own copy
// is here, or something that it said later. Another run's frames may come beside them:
// therefore it has a minute, from when it delivers.
func (b *Book) overdue(gateway string, a *account, now time.Time) bool {
	if !a.own.IsZero() {
		return !now.Before(a.own.Add(Late))
	}
	v := b.voices[gateway]
	return v != nil && v.said.After(a.at.Add(Late)) && !v.came.Before(a.came.Add(Late)) && !v.came.Before(v.since.Add(Late))
}

// gaps are epochs that never came, although a later one has, or was named.
func (b *Book) gaps(c *chain, now time.Time) []*controlv1.Finding {
	var all []*controlv1.Finding
	e, last := Short(c.name.Egress), uint64(0)
	if c.last != nil {
		last = c.last.number
		if a := c.last.accounts[egress]; !a.own.IsZero() && !now.Before(a.own.Add(Late)) {
			for _, x := range c.known.Missing(1, last) {
				all = append(all, c.finding(controlv1.Finding_GAP, c.name.Egress, x.From, 0, a.at, "%s never delivered %s", e, epochs(x)))
			}
		}
	}
	if p := c.promised; p.epoch > last && !now.Before(p.since.Add(Late)) {
		all = append(all, c.finding(controlv1.Finding_GAP, c.name.Egress, last+1, c.stated(), p.since,
			"%s says that it has claimed epoch %d, and never delivered %s", e, p.epoch, epochs(spans.Span{From: last + 1, To: p.epoch + 1})))
	}
	return all
}

// epochs are the claims of one epoch, or of several, in words.
func epochs(x spans.Span) string {
	if x.To == x.From+1 {
		return fmt.Sprintf("its claim of epoch %d", x.From)
	}
	return fmt.Sprintf("its claims of epochs %d to %d", x.From, x.To-1)
}

// Place is a number of a chain.
type Place struct {
	statement.Chain

	Number uint64
}

// PlaceOf is what a finding is about; number 0 if it is about no one crossing.
func PlaceOf(f *controlv1.Finding) Place {
	c := f.GetChain()
	return Place{statement.Chain{Egress: c.GetEgress(), Ingress: c.GetIngress(), Run: c.GetRun()}, f.GetNumber()}
}

// excesses are frames that were delivered, and by what is stated are none.
func (c *chain) excesses() []*controlv1.Finding {
	var all []*controlv1.Finding
	for s := range sides {
		numbers := c.openings[s].excess() // of ends there may be: what is put off is stated again
		if c.final && c.last.accounts[s].held {
			// What was claimed while the ingress gateway was not heard, it never states.
			numbers = append(numbers, c.openings[s].left(func(n uint64) bool { return !c.openings[egress].past.Has(n) })...)
			numbers = append(numbers, c.ends[s].left(func(n uint64) bool { return !c.ends[egress].past.Has(n) })...)
		}
		slices.Sort(numbers)
		for _, n := range slices.Compact(numbers) {
			all = append(all, c.finding(controlv1.Finding_UNSTATED, c.gateway(s), 0, n, c.last.at,
				"%s delivered a record of it, and states none", Short(c.gateway(s))))
		}
	}
	return all
}

// unproven are the statements whose keys were never announced.
func (b *Book) unproven(now time.Time) []*controlv1.Finding {
	var all []*controlv1.Finding
	for name, waiting := range b.held {
		for _, h := range waiting {
			if now.Before(h.came.Add(Late)) {
				continue
			}
			c := chain{name: h.stated.Chain}
			all = append(all, c.finding(controlv1.Finding_UNPROVEN, h.from, h.stated.Claim.GetEpoch(), 0, h.came,
				"%s delivered a statement that is signed with a key which %s has not announced", Short(h.from), Short(name.gateway)))
		}
	}
	slices.SortFunc(all, func(x, y *controlv1.Finding) int { return x.GetSince().AsTime().Compare(y.GetSince().AsTime()) })
	return all
}
