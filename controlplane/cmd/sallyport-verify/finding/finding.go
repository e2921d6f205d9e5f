// Package finding is what a check of evidence finds: what is wrong with it, where, and how
// much that weighs.
package finding

import (
	"fmt"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
)

// Weight is what a finding means for the whole.
type Weight int

const (
	// Note is worth knowing, and takes nothing away from what is proven.
	Note Weight = iota
	// Unknown is of what could not be told.
	Unknown
	// Fault is of what is wrong.
	Fault
)

// Kind of a finding.
type Kind string

// Kinds of findings.
const (
	// Changed bytes: they are not those that were signed.
	Changed Kind = "changed"
	// Dropped was something that was stated.
	Dropped Kind = "dropped"
	// DroppedTail was the end of a log, or of a chain.
	DroppedTail Kind = "dropped tail"
	// Added was something that nobody stated.
	Added Kind = "added"
	// Fork: two were signed where there can be one.
	Fork Kind = "fork"
	// Gap: what follows does not begin where the one before it ended.
	Gap Kind = "gap"
	// Silence: a gateway said nothing for longer than it may.
	Silence Kind = "silence"
	// BackDated: it was signed with a key that had expired.
	BackDated Kind = "back-dated"
	// RolledBack: a gateway did not remember what it had signed.
	RolledBack Kind = "rolled back"
	// Difference: both gateways have signed that their accounts differ.
	Difference Kind = "difference"
	// AfterFinal: a claim after the last one.
	AfterFinal Kind = "after final"
	// Unproven: nobody who is believed has signed it.
	Unproven Kind = "unproven"
	// Malformed: it is not what the format says.
	Malformed Kind = "malformed"
	// Pending: what would prove it is not there yet.
	Pending Kind = "pending"
)

// Finding is one thing that was found.
type Finding struct {
	Weight Weight
	Kind   Kind
	// Log is the origin of the log that it shows in, and Index the entry; nil if it is no
	// one's.
	Log   string
	Index *uint64
	// Chain, Epoch and Number are the place of what it is about; nil and 0 if it is none.
	Chain         *statement.Chain
	Epoch, Number uint64
	// Why in words.
	Why string
}

// Of is a finding on an epoch of a chain, or on a number that is not 0.
func Of(w Weight, k Kind, c statement.Chain, epoch, number uint64, why string, args ...any) Finding {
	return Finding{Weight: w, Kind: k, Chain: &c, Epoch: epoch, Number: number, Why: fmt.Sprintf(why, args...)}
}

// In is a finding on an entry of a log.
func In(w Weight, k Kind, log string, index uint64, why string, args ...any) Finding {
	return Finding{Weight: w, Kind: k, Log: log, Index: &index, Why: fmt.Sprintf(why, args...)}
}

// Where is the finding's place in words.
func (f *Finding) Where() (where string) {
	add := func(format string, args ...any) {
		if where != "" {
			where += ", "
		}
		where += fmt.Sprintf(format, args...)
	}
	if f.Log != "" {
		add("%s", f.Log)
	}
	if f.Index != nil {
		add("entry %d", *f.Index)
	}
	if f.Chain != nil {
		add("%s", f.Chain)
		add("run %.8s", f.Chain.Run)
	}
	if f.Epoch > 0 {
		add("epoch %d", f.Epoch)
	}
	if f.Number > 0 {
		add("number %d", f.Number)
	}
	return where
}

// most is how many findings are kept of one kind: the rest is counted.
const most = 200

// List is what was found. It keeps the first ones of each kind.
type List struct {
	// All that are kept, in the order in which they were found.
	All []Finding
	// More is how many others there are, by kind.
	More map[Kind]int

	kept  map[Kind]int
	worst Weight
}

// Add takes findings up.
func (l *List) Add(all ...Finding) {
	if l.kept == nil {
		l.kept, l.More = map[Kind]int{}, map[Kind]int{}
	}
	for _, f := range all {
		l.worst = max(l.worst, f.Weight)
		if l.kept[f.Kind]++; l.kept[f.Kind] > most {
			l.More[f.Kind]++
			continue
		}
		l.All = append(l.All, f)
	}
}

// Worst is the weight of the heaviest; Note if there is none.
func (l *List) Worst() Weight { return l.worst }
