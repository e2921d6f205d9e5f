package verifier

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/frame"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/pack"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/proof"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// answer is what is said of a file.
type answer struct {
	code     int
	why      string
	crossing *proof.Crossing
	report   *pack.Report
	since    *keys.Checkpoint
}

func (a *answer) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return a.printJSON(w)
	}
	switch {
	case a.crossing != nil:
		return printCrossing(w, a.crossing)
	case a.report != nil:
		return printReport(w, a)
	}
	_, err := fmt.Fprintf(w, "%s: %s.\n", verdicts[a.code], safe(a.why))
	return err
}

// verdicts are the exit codes in words.
var verdicts = [...]string{proven: "Proven", notProven: "Not proven", notTold: "It cannot be told"}

// safe has what came from a file show as text, whatever it is.
func safe(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

const clockForm = "2006-01-02 15:04:05.000"

// printCrossing says what is proven of a crossing.
func printCrossing(w io.Writer, c *proof.Crossing) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", safe(name), safe(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(w, "Proven: crossing %s, number %d of %s\n", safe(c.ID), c.Number, safe(c.Chain.String()))
	if first := c.First(); first != nil {
		line("who", "%s ─► %s", first.Text("source"), first.Text("destination"))
		on := first.Sub("transition")
		line("owner", "%s, of %s ─► %s; lands in %s", on.Text("owner"), on.Text("from"), on.Text("to"), on.Text("sink"))
		if what := first.Sub("operation"); what != nil {
			line("what", "%s of %s (%s) at %s", asked(what), what.Text("service"), what.Text("protocol"), what.Text("authority"))
		}
	}
	for _, side := range c.Sides() {
		line(spiffe.Name(side.Gateway), "%s", account(&side.Account))
	}
	for _, said := range signed(c) {
		line("signed", "%s", said)
	}
	for _, s := range c.Statements {
		line("logged", "epoch %d is entry %d of %s, since %s, delivered by %s%s",
			s.Epoch, s.Index, c.Checkpoint.Origin, s.Taken.Format(clockForm), spiffe.Name(s.Gateway), lateness(s.Taken.Sub(s.At)))
	}
	line("checkpoint", "of %d entries, %s", c.Checkpoint.Size, seen(c.Checkpoint))
	return t.Flush()
}

// asked is the operation, and the model, the tool or the agent that it is about.
func asked(what *wire.Message) string {
	parts := []string{what.Text("name")}
	for _, name := range [...]string{"modelRequested", "tool", "agent"} {
		if text := what.Text(name); text != "" {
			parts = append(parts, text)
		}
	}
	if version := what.Text("modelVersion"); version != "" {
		parts = append(parts, "version "+version)
	}
	if n := len(what.Subs("messages")); n > 0 {
		parts[0] = fmt.Sprintf("a batch of %d", n)
	}
	return strings.Join(parts, " ")
}

// lateness says how far a statement's own time is from when the log took it, if that is
// far: a pack shows whether its key was the gateway's then.
func lateness(d time.Duration) string {
	switch {
	case d > time.Hour:
		return fmt.Sprintf(": %s after it is dated", d.Round(time.Second))
	case d < -time.Minute:
		return fmt.Sprintf(": %s before it is dated", -d.Round(time.Second))
	}
	return ""
}

// account is what one gateway wrote, in words.
func account(a *frame.Account) string {
	var parts []string
	if open := a.Open; open != nil {
		end := open.Sub("end")
		part := "opened " + end.Time("open").Format(clockForm) + ": " + end.Value("decision")
		if intent := end.Text("intent"); intent != "" {
			part += " by " + intent
		}
		if serial := end.Sub("policy").Uint("serial"); serial > 0 {
			part += fmt.Sprintf(" under policy %d", serial)
		}
		if reason := end.Value("reason"); reason != "" {
			part += ", " + reason
		}
		parts = append(parts, part)
	}
	if end := a.Close; end != nil {
		part := fmt.Sprintf("ended %s later: %s", end.Duration("duration").Round(time.Microsecond), end.Value("cause"))
		if reason := end.Value("reason"); reason != "" {
			part += ", " + reason
		}
		part += fmt.Sprintf(", status %d, %s B there, %s B back", end.Uint("status"), thousands(end.Uint("requestBytes")), thousands(end.Uint("responseBytes")))
		parts = append(parts, part+spent(end.Sub("said"))+transferred(end.Sub("transfer")))
	}
	return strings.Join(parts, "; ")
}

// spent is what an AI service's answer cost, in words.
func spent(said *wire.Message) string {
	tokens := said.Sub("tokens")
	if tokens == nil {
		return ""
	}
	text := ""
	for _, name := range [...]string{"input", "output"} {
		if tokens.Has(name) {
			text += fmt.Sprintf(", %s tokens of %s", thousands(tokens.Uint(name)), name)
		}
	}
	if source := tokens.Value("source"); text != "" && source != "" {
		text += " " + strings.ToLower(source)
	}
	return text
}

// transferred is what was moved of an object, in words.
func transferred(t *wire.Message) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf(", %s of %s, sha256 %s", t.Value("direction"), t.Text("object"), t.Text("contentSha256"))
}

// thousands has a comma after each three digits.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// signed is what both gateways have signed of the crossing, in words.
func signed(c *proof.Crossing) (all []string) {
	for i := range c.Statements {
		s := &c.Statements[i]
		what := strings.Join(c.Covers(s.Statement), " and ")
		at := fmt.Sprintf("epoch %d, of %s", s.Epoch, s.At.Format(clockForm))
		egress, ingress := spiffe.Name(c.Chain.Egress), spiffe.Name(c.Chain.Ingress)
		switch differs := s.Differs(c.Number); {
		case c.Chain.Ingress == "":
			all = append(all, fmt.Sprintf("%s by %s alone, which refused it (%s)", what, egress, at))
		case s.Answer == nil:
			all = append(all, fmt.Sprintf("%s by %s; %s has not answered (%s)", what, egress, ingress, at))
		case len(differs) > 0:
			for _, d := range differs {
				all = append(all, fmt.Sprintf("both have signed that %s (%s)", difference(d, egress, ingress), at))
			}
		case c.Goes(s.Statement):
			all = append(all, fmt.Sprintf("%s by both; it goes on at %s (%s)", what, ingress, at))
		default:
			all = append(all, fmt.Sprintf("%s alike by both (%s)", what, at))
		}
	}
	if fields := frame.Differences(c.Egress, c.Ingress); len(fields) > 0 {
		all = append(all, "the two accounts differ in "+strings.Join(fields, ", "))
	}
	return all
}

// difference is one that both have signed, in words.
func difference(d statement.Difference, egress, ingress string) string {
	words := map[uint64]string{
		message.Unseen:          "it never came to " + ingress,
		message.Unrecorded:      ingress + " could not record it, and refused it",
		message.Unopened:        ingress + " has it, and " + egress + " has no record of it",
		message.OpenedOtherwise: "it opened otherwise at either",
		message.EndedOtherwise:  "it ended otherwise at either",
		message.Reused:          "its number came to " + ingress + " with another crossing too",
		message.Unended:         "it ended at " + egress + ", and " + ingress + " does not know that it did",
		message.Denied:          ingress + " denied it",
		message.BrokenOff:       "it was broken off",
		message.Unclaimed:       ingress + " has it, and no claim was about it",
		message.UnclaimedEnd:    "it ended at " + ingress + ", and no claim was about that",
	}[d.Kind]
	if len(d.Fields) > 0 {
		words += " in " + strings.Join(d.Fields, ", ")
	}
	return words
}

// seen is who has seen the checkpoint, in words.
func seen(c *keys.Checkpoint) string {
	if len(c.Cosigned) == 0 {
		return "which no witness of the keys file has seen"
	}
	var all []string
	for _, s := range c.Cosigned {
		all = append(all, fmt.Sprintf("%s at %s", s.Witness, s.At.Format("2006-01-02 15:04:05")))
	}
	return "seen by " + strings.Join(all, ", ")
}

func (a *answer) printJSON(w io.Writer) error {
	said := map[string]any{"verdict": [...]string{"proven", "not proven", "could not tell"}[a.code]}
	if a.why != "" {
		said["why"] = a.why
	}
	if a.crossing != nil {
		said["crossing"] = crossingJSON(a.crossing)
	}
	if a.report != nil {
		said["pack"] = reportJSON(a.report)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(said)
}

func crossingJSON(c *proof.Crossing) any {
	var statements []any
	for i := range c.Statements {
		s := &c.Statements[i]
		one := map[string]any{
			"log": c.Checkpoint.Origin, "index": s.Index, "loggedAt": s.Taken, "deliveredBy": s.Gateway, "epoch": s.Epoch,
			"claimedAt": s.At, "covers": c.Covers(s.Statement), "answered": s.Answer != nil,
		}
		if s.Answer != nil {
			one["answeredAt"] = s.Answer.At
		}
		var differences []any
		for _, d := range s.Differs(c.Number) {
			differences = append(differences, map[string]any{"kind": message.DifferenceName(d.Kind), "fields": d.Fields})
		}
		one["differences"] = differences
		statements = append(statements, one)
	}
	accounts := map[string]any{}
	for _, s := range c.Sides() {
		accounts[s.Gateway] = map[string]any{"open": s.Open, "close": s.Close}
	}
	return map[string]any{
		"id": c.ID, "number": c.Number, "chain": map[string]any{"egress": c.Chain.Egress, "ingress": c.Chain.Ingress, "run": c.Chain.Run},
		"accounts": accounts, "statements": statements, "differences": frame.Differences(c.Egress, c.Ingress),
		"checkpoint": map[string]any{"origin": c.Checkpoint.Origin, "size": c.Checkpoint.Size, "root": c.Checkpoint.Root[:], "cosigned": c.Checkpoint.Cosigned},
	}
}
