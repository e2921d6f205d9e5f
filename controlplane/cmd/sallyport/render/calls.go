package render

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/asked"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Calls is the table of `crossings --ai`.
func Calls() *Grid {
	return NewGrid("OPENED", "TRANSITION", "CALL", "OPERATION", "MODEL", "TOOL", "IN", "OUT", "FIRST TOKEN", "LONGEST GAP", "DECISION", "END", "RECORD", "CROSSING")
}

// LiveCalls is the same for rows that come one by one.
func LiveCalls() *Grid {
	return Calls().Least(24, 16, 24, 22, 24, 16, 6, 6, 11, 11, 14, 16, 9, 36)
}

// CallRow adds a record of an AI service to the table of `crossings --ai`.
func CallRow(g *Grid, r *crossingv1.Record) {
	t, op, said := r.GetTransition(), r.GetOperation(), saidIn(r)
	in, out := took(op.GetTokens())
	g.Row(instant(Opened(r)), Pair(t.GetFrom(), t.GetTo()), orQuestion(Name(r.GetSource()))+" ─► "+orQuestion(callee(r)),
		asks(op), clipped(models(op)), clipped(tools(op)), in, out,
		known(op.GetFirstToken()), known(said.GetLongestGap()), reasoned(r), callEnding(r, said), asked.Word(r.GetState()), r.GetId())
}

// saidIn is what a gateway read of the answer, the egress gateway if it did; nil if none.
func saidIn(r *crossingv1.Record) *crossingv1.Said {
	for _, e := range ends(r) {
		if e.GetSaid() != nil {
			return e.GetSaid()
		}
	}
	return nil
}

// asks is the operation without what has columns of its own.
func asks(op *crossingv1.Operation) string {
	text := spaced(op.GetProtocol(), op.GetName(), op.GetAgent(), several(op))
	if op.GetStreamed() {
		text += ", streamed"
	}
	return text
}

// spaced are the words that there are.
func spaced(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
}

// models is the model that is asked for, and the one that serves if that is another.
func models(op *crossingv1.Operation) string {
	asked := op.GetModelRequested()
	if asked == "" {
		asked = each(op, (*crossingv1.Operation_Message).GetModel)
	}
	switch served := op.GetModelServed(); {
	case served == "" || served == asked:
		return asked
	case asked == "":
		return served
	default:
		return asked + " ─► " + served
	}
}

// tools is the tool that is called; of a batch, all of them.
func tools(op *crossingv1.Operation) string {
	if op.GetTool() != "" {
		return op.GetTool()
	}
	return each(op, (*crossingv1.Operation_Message).GetTool)
}

// each is what the messages of a batch have, once each.
func each(op *crossingv1.Operation, of func(*crossingv1.Operation_Message) string) string {
	var all []string
	for _, m := range op.GetMessages() {
		if s := of(m); s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, ", ")
}

// maxCell is what a name may take of a line that is to be read at a glance, in columns.
// Whole it is in the record.
const maxCell = 48

func clipped(s string) string {
	s = Printable(s)
	if columns(s) <= maxCell {
		return s
	}
	n := 0
	for i, r := range s {
		if n += runeColumns(r); n >= maxCell {
			return s[:i] + "…"
		}
	}
	return s
}

// took are the numbers of tokens that are known, with a mark if the gateway counted them:
// they are at least that.
func took(t *crossingv1.Tokens) (in, out string) {
	counted := t.GetSource() == crossingv1.Tokens_COUNTED
	if t != nil && t.Input != nil {
		in = atLeast(counted) + count(uint64(t.GetInput()))
	}
	if t != nil && t.Output != nil {
		out = atLeast(counted) + count(uint64(t.GetOutput()))
	}
	return in, out
}

func atLeast(counted bool) string {
	if counted {
		return "≥"
	}
	return ""
}

func known(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return span(d)
}

// reasoned is the decision, and why if it is a denial.
func reasoned(r *crossingv1.Record) string {
	text := decision(Decision(r))
	if why := decider(r).GetReason(); Decision(r) == crossingv1.Decision_DENY && why != crossingv1.Reason_REASON_UNSPECIFIED {
		text += " " + why.String()
	}
	return text
}

// callEnding is how a call ended, and what the service calls its error if it answered one.
func callEnding(r *crossingv1.Record, said *crossingv1.Said) string {
	text := Ending(r)
	if said.GetFailed() {
		fault := said.GetFault()
		if fault == "" {
			fault = "error"
		}
		text = spaced(text, clipped(fault))
	}
	return text
}
