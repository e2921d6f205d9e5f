package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// spent is what calls of one model took.
type spent struct {
	told            uint64 // calls of which somebody told something
	in, out         uint64
	partIn, partOut bool   // something of them is not told, or was counted: it is at least that
	unknown         uint64 // calls that were let through, and of which nobody told anything
}

// CallTotals writes how many calls there are among records of AI services, and what they
// took by the model that was asked for.
func CallTotals(w io.Writer, records []*crossingv1.Record) error {
	denied, of := 0, map[string]*spent{}
	for _, r := range records {
		deny := Decision(r) == crossingv1.Decision_DENY
		if deny {
			denied++
		}
		if model := billed(r.GetOperation()); model != "" {
			if of[model] == nil {
				of[model] = new(spent)
			}
			of[model].add(r.GetOperation().GetTokens(), deny)
		}
	}
	parts := []string{fmt.Sprintf("%s, %d denied", plural(uint64(len(records)), "call"), denied)}
	for _, model := range slices.Sorted(maps.Keys(of)) {
		if text := of[model].String(); text != "" {
			parts = append(parts, clipped(model)+": "+text)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(parts, "; "))
	return err
}

// billed is the model that a call's tokens are of: the one that was asked for, or else
// the one that serves.
func billed(op *crossingv1.Operation) string {
	if op.GetModelRequested() != "" {
		return op.GetModelRequested()
	}
	return op.GetModelServed()
}

func (s *spent) add(t *crossingv1.Tokens, denied bool) {
	switch {
	case t != nil && (t.Input != nil || t.Output != nil):
		s.told++
		s.in += uint64(t.GetInput())
		s.out += uint64(t.GetOutput())
		s.partIn = s.partIn || t.Input == nil
		s.partOut = s.partOut || t.Output == nil || t.GetSource() == crossingv1.Tokens_COUNTED
	case !denied:
		s.unknown++
	}
}

// String is "412 in, ≥187 out, 1 call unknown"; "" if there is nothing to say.
func (s *spent) String() string {
	var parts []string
	if s.told > 0 {
		parts = append(parts, atLeast(s.partIn)+count(s.in)+" in", atLeast(s.partOut)+count(s.out)+" out")
	}
	if s.unknown > 0 {
		parts = append(parts, plural(s.unknown, "call")+" unknown")
	}
	return strings.Join(parts, ", ")
}
