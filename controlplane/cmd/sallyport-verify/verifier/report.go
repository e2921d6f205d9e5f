package verifier

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/pack"
)

// printReport says what a pack proves, and what is wrong with it.
func printReport(w io.Writer, a *answer) error {
	r := a.report
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s: %s of %s, from %s to %s\n", verdicts[a.code],
		count(r.Crossings, "crossing"), count(r.Chains, "chain"), r.From.Format(clockForm), r.To.Format(clockForm))
	for _, l := range r.Logs {
		fmt.Fprintf(t, "  %s\t%s of %s entries, to %s; %s\n", safe(l.Origin), thousands(l.Entries), thousands(l.Checkpoint.Size),
			l.Last.Format(clockForm), safe(seen(l.Checkpoint)))
	}
	fmt.Fprintf(t, "  held\t%s against %s\n", count(r.Frames, "frame"), count(r.Statements, "statement"))
	if s := a.since; s != nil {
		fmt.Fprintf(t, "  since\t%s entries of %s\n", thousands(s.Size), safe(s.Origin))
	}
	for _, weight := range []finding.Weight{finding.Fault, finding.Unknown, finding.Note} {
		for i := range r.Findings.All {
			if f := &r.Findings.All[i]; f.Weight == weight {
				fmt.Fprintf(t, "  %s\t%s\n", marks[weight]+string(f.Kind), safe(said(f)))
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Findings.More)) {
		fmt.Fprintf(t, "  %s\t%s more\n", kind, thousands(uint64(r.Findings.More[kind])))
	}
	return t.Flush()
}

// said is a finding and its place.
func said(f *finding.Finding) string {
	if where := f.Where(); where != "" {
		return where + ": " + f.Why
	}
	return f.Why
}

// count is so many of something, in words.
func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return thousands(uint64(n)) + " " + of + "s" //nolint:gosec // it is no less than 0
}

// marks show how much a finding weighs.
var marks = [...]string{finding.Note: "note: ", finding.Unknown: "cannot tell: ", finding.Fault: ""}

func reportJSON(r *pack.Report) any {
	logs, findings := []any{}, []any{}
	for _, l := range r.Logs {
		logs = append(logs, map[string]any{
			"origin": l.Origin, "size": l.Checkpoint.Size, "root": l.Checkpoint.Root[:], "entries": l.Entries, "first": l.First, "last": l.Last,
			"cosigned": l.Checkpoint.Cosigned,
		})
	}
	weights := [...]string{finding.Note: "note", finding.Unknown: "unknown", finding.Fault: "fault"}
	for i := range r.Findings.All {
		f := &r.Findings.All[i]
		one := map[string]any{"weight": weights[f.Weight], "kind": f.Kind, "why": f.Why}
		if f.Log != "" {
			one["log"] = f.Log
		}
		if f.Index != nil {
			one["index"] = *f.Index
		}
		if f.Chain != nil {
			one["chain"] = map[string]any{"egress": f.Chain.Egress, "ingress": f.Chain.Ingress, "run": f.Chain.Run}
		}
		if f.Epoch > 0 {
			one["epoch"] = f.Epoch
		}
		if f.Number > 0 {
			one["number"] = f.Number
		}
		findings = append(findings, one)
	}
	return map[string]any{
		"from": r.From, "to": r.To, "logs": logs, "chains": r.Chains, "statements": r.Statements, "crossings": r.Crossings, "frames": r.Frames,
		"findings": findings, "more": r.Findings.More,
	}
}
