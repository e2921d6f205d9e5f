package chain

import (
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
)

// Find finds what the chain's statements show by themselves, where the logs began then.
func (c *Chain) Find(began time.Time) (all []finding.Finding) {
	before := uint64(0)
	for _, n := range c.Epochs() {
		claim := c.Claim(n)
		if n > before+1 {
			all = append(all, c.missing(before+1, n, claim, began))
		}
		all = append(all, c.forks(n)...)
		for _, variant := range c.epochs[n] {
			all = append(all, c.links(variant)...)
		}
		all = append(all, c.says(claim)...)
		before = n
	}
	return append(all, c.expired()...)
}

// at is a finding on a claim.
func (c *Chain) at(w finding.Weight, k finding.Kind, claim *Claim, why string, args ...any) finding.Finding {
	f := finding.Of(w, k, c.Name, claim.Epoch, 0, why, args...)
	d := entered(claim.Delivered)
	f.Log, f.Index = d.Log, &d.Index
	return f
}

// missing is of epochs of which no log has a claim. What was before the logs is not in
// them.
func (c *Chain) missing(from, to uint64, next *Claim, began time.Time) finding.Finding {
	f := finding.Of(finding.Fault, finding.Dropped, c.Name, from, 0, "no log has %s, and there is one of epoch %d", claims(from, to), to)
	if from == 1 && next.Since.Before(began) {
		f.Weight, f.Kind = finding.Note, finding.Pending
		f.Why = fmt.Sprintf("%s were before the logs began", claims(from, to))
	}
	return f
}

func claims(from, to uint64) string {
	if to == from+1 {
		return fmt.Sprintf("a claim of epoch %d", from)
	}
	return fmt.Sprintf("claims of epochs %d to %d", from, to-1)
}

func (c *Chain) forks(epoch uint64) (all []finding.Finding) {
	variants := c.epochs[epoch]
	if len(variants) > 1 {
		all = append(all, c.at(finding.Fault, finding.Fork, variants[1], "%s has signed two claims of the epoch: %x and %x",
			spiffe.Name(c.Name.Egress), variants[0].Hash[:4], variants[1].Hash[:4]))
	}
	for _, v := range variants {
		if len(v.Answers) > 1 {
			all = append(all, c.at(finding.Fault, finding.Fork, v, "%s has signed two answers to one claim: %x and %x",
				spiffe.Name(c.Name.Ingress), v.Answers[0].Hash[:4], v.Answers[1].Hash[:4]))
		}
	}
	return all
}

// links holds a claim against those of the epoch before.
func (c *Chain) links(claim *Claim) (all []finding.Finding) {
	if len(c.epochs[claim.Epoch-1]) == 0 {
		return nil
	}
	who := spiffe.Name(c.Name.Egress)
	b := c.named(claim.Epoch-1, claim.Previous)
	if b == nil {
		return []finding.Finding{c.at(finding.Fault, finding.Fork, claim,
			"the claim follows one that %s signed of epoch %d and that no log has: another is there", who, claim.Epoch-1)}
	}
	if claim.First != b.Next {
		all = append(all, c.at(finding.Fault, finding.Gap, claim, "it begins with number %d, and the claim before it ended before %d", claim.First, b.Next))
	}
	switch {
	case len(claim.Statement.Answered) == 0 || b.answer(claim.Statement.Answered) != nil:
	case len(b.Answers) > 0:
		all = append(all, c.at(finding.Fault, finding.Fork, claim, "it countersigns another answer to the claim before than any that a log has"))
	default:
		all = append(all, c.at(finding.Fault, finding.Dropped, claim, "it countersigns an answer to the claim before, and no log has that"))
	}
	if a := b.Answered(); b.Final && a != nil && len(a.Deferred) == 0 {
		all = append(all, c.at(finding.Fault, finding.AfterFinal, claim, "%s had ended the run with its final claim", who))
	}
	return all
}

// says are the findings that the gateways themselves have signed.
func (c *Chain) says(claim *Claim) (all []finding.Finding) {
	egress, ingress := spiffe.Name(c.Name.Egress), spiffe.Name(c.Name.Ingress)
	if claim.Resumed {
		all = append(all, c.at(finding.Fault, finding.RolledBack, claim,
			"%s did not remember what it had claimed before: its spool was lost, or put back", egress))
	}
	a := claim.Answered()
	if a == nil {
		if c.Name.Ingress != "" {
			all = append(all, c.at(finding.Note, finding.Pending, claim, "%s has not answered", ingress))
		}
		return all
	}
	if a.Forgot {
		all = append(all, c.at(finding.Fault, finding.RolledBack, claim,
			"%s did not remember what it had answered before: its spool was lost, or put back", ingress))
	}
	if a.Missed > 0 {
		all = append(all, c.at(finding.Note, finding.Pending, claim, "%d claims before it never came to %s", a.Missed, ingress))
	}
	for _, d := range a.Differences {
		if d.Kind == message.Denied || d.Kind == message.BrokenOff {
			continue // both say so
		}
		f := c.at(finding.Fault, finding.Difference, claim, "both have signed that %s differ: %s%s", numbers(d.Numbers), message.DifferenceName(d.Kind), in(d))
		f.Number = d.Numbers[0]
		all = append(all, f)
	}
	return all
}

func in(d statement.Difference) string {
	if len(d.Fields) == 0 {
		return ""
	}
	return " in " + strings.Join(d.Fields, ", ")
}

// numbers are rising ones in words.
func numbers(all []uint64) string { return "numbers " + Ranges(all) }

// Ranges are rising numbers as ranges, the first ones of them.
func Ranges(all []uint64) string {
	const most = 8
	var parts []string
	for at := 0; at < len(all); {
		end := at
		for end+1 < len(all) && all[end+1] == all[end]+1 {
			end++
		}
		if len(parts) == most {
			return strings.Join(parts, ", ") + fmt.Sprintf(" and %d more", len(all)-at)
		}
		if end == at {
			parts = append(parts, fmt.Sprint(all[at]))
		} else {
			parts = append(parts, fmt.Sprintf("%d–%d", all[at], all[end]))
		}
		at = end + 1
	}
	return strings.Join(parts, ", ")
}
