package render

import (
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Unmatched writes the table of `unmatched`: one line for each finding, and under it
// how many of them may still settle themselves.
func Unmatched(w io.Writer, findings []*controlv1.Finding) error {
	g := NewGrid("SINCE", "KIND", "TRANSITION", "OWNER", "CHAIN", "NUMBER", "CROSSING", "CAUSE")
	open := 0
	for _, f := range findings {
		t := f.GetTransition()
		g.Row(instantOf(f.GetSince()), f.GetKind().String(), Pair(t.GetFrom(), t.GetTo()), t.GetOwner(), ChainName(f.GetChain()),
			number(f), f.GetCrossing(), f.GetCause())
		if f.GetUncertain() {
			open++
		}
	}
	if err := g.Flush(w); err != nil || open == 0 {
		return err
	}
	_, err := fmt.Fprintf(w, "%d of %d may still settle: ask again.\n", open, len(findings))
	return err
}

// ChainName is a chain as people say it: "onprem-1 azure-1 3f2a…"; of crossings that
// were refused at egress "onprem-1 3f2a…".
func ChainName(c *crossingv1.Chain) string {
	const digits = 4
	words := []string{Name(c.GetEgress())}
	if c.GetIngress() != "" {
		words = append(words, Name(c.GetIngress()))
	}
	if run := c.GetRun(); len(run) > digits {
		words = append(words, run[:digits]+"…")
	}
	return strings.Join(words, " ")
}

// number is that of a crossing; of what is about a whole epoch, that.
func number(f *controlv1.Finding) string {
	switch {
	case f.GetNumber() > 0:
		return count(f.GetNumber())
	case f.GetEpoch() > 0:
		return "epoch " + count(f.GetEpoch())
	}
	return ""
}

func instantOf(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return instant(t.AsTime())
}
