package render

import (
	"fmt"
	"strconv"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// several is how many operations a batch has; "" if it is none.
func several(op *crossingv1.Operation) string {
	if n := len(op.GetMessages()); n > 0 {
		return "batch of " + strconv.Itoa(n)
	}
	return ""
}

// aiService adds the rows of what an AI service was asked for, and what it cost.
func aiService(g *Grid, op *crossingv1.Operation) {
	if op.GetRequest() != "" {
		g.Row("request", op.GetRequest())
	}
	if text := model(op); text != "" {
		g.Row("model", text)
	}
	if op.GetTool() != "" {
		g.Row("tool", op.GetTool())
	}
	if text := artifact(op.GetArtifact()); text != "" {
		g.Row("artifact", text)
	}
	if op.GetAgent() != "" {
		g.Row("agent", op.GetAgent())
	}
	if len(op.GetOffered()) > 0 {
		g.Row("offered", strings.Join(op.GetOffered(), ", "))
	}
	tensors(g, "inputs", op.GetInputs())
	if op.GetSession() != "" {
		g.Row("session", op.GetSession())
	}
	if text := dataClass(op); text != "" {
		g.Row("data class", text)
	}
	if text := tokens(op.GetTokens()); text != "" {
		g.Row("tokens", text)
	}
	if text := finish(op); text != "" {
		g.Row("answer", text)
	}
	for i, m := range op.GetMessages() {
		g.Row(first("messages", i), oneOf(m))
	}
}

// artifactName is the repository or object that is asked for, at a glance.
func artifactName(op *crossingv1.Operation) string { return clipped(op.GetArtifact().GetName()) }

// artifact is all that is said of one: "model org/repo at main, from other/repo".
func artifact(a *crossingv1.Artifact) string {
	text := spaced(a.GetKind(), a.GetName())
	if a.GetReference() != "" {
		text += " at " + a.GetReference()
	}
	if a.GetSource() != "" {
		text += ", from " + a.GetSource()
	}
	return text
}

// first is the name of a row, which the rows behind it do not repeat.
func first(name string, i int) string {
	if i > 0 {
		return ""
	}
	return name
}

// version is that of the model that is asked for; "" if none is named.
func version(op *crossingv1.Operation) string {
	if op.GetModelVersion() == "" {
		return ""
	}
	return "version " + op.GetModelVersion()
}

func model(op *crossingv1.Operation) string {
	var parts []string
	if op.GetModelRequested() != "" {
		parts = append(parts, "asked for "+spaced(op.GetModelRequested(), version(op)))
	}
	if op.GetModelServed() != "" {
		parts = append(parts, "served by "+op.GetModelServed())
	}
	if op != nil && op.MaxTokens != nil {
		parts = append(parts, fmt.Sprintf("at most %d tokens", op.GetMaxTokens()))
	}
	return strings.Join(parts, ", ")
}

// dataClass is of what class the content is, and who says so.
func dataClass(op *crossingv1.Operation) string {
	text := orQuestion(op.GetDataClass())
	switch op.GetDataClassSource() {
	case crossingv1.Operation_WORKLOAD:
		return text + ", as the caller is registered"
	case crossingv1.Operation_LABEL:
		return text + ", by a label of " + orQuestion(op.GetLabeler())
	case crossingv1.Operation_DEFAULT:
		return text + ", as nobody says otherwise"
	}
	return op.GetDataClass()
}

// tokens are those that are known, and who says so: "412 in, 187 out, reported".
func tokens(t *crossingv1.Tokens) string {
	if t == nil {
		return ""
	}
	var parts []string
	for _, c := range [...]struct {
		n    *uint32
		what string
	}{
		{t.Input, "in"},
		{t.CacheRead, "of them read from a cache"},
		{t.CacheWritten, "written to a cache"},
		{t.Output, "out"},
		{t.Reasoning, "of them reasoning"},
	} {
		if c.n != nil {
			parts = append(parts, fmt.Sprintf("%d %s", *c.n, c.what))
		}
	}
	if len(parts) > 0 && t.GetSource() != crossingv1.Tokens_SOURCE_UNSPECIFIED {
		parts = append(parts, strings.ToLower(t.GetSource().String()))
	}
	return strings.Join(parts, ", ")
}

func finish(op *crossingv1.Operation) string {
	var parts []string
	if op.GetFinishReason() != "" {
		parts = append(parts, "finished: "+op.GetFinishReason())
	}
	if op.GetFirstToken() != nil {
		parts = append(parts, "first token after "+span(op.GetFirstToken()))
	}
	return strings.Join(parts, ", ")
}

// oneOf is one operation of a batch: "call_tool search  ALLOW by search-the-corpus".
func oneOf(m *crossingv1.Operation_Message) string {
	text := strings.TrimSpace(m.GetName()+" "+m.GetTool()) + "  " + decision(m.GetDecision())
	if m.GetIntent() != "" {
		text += " by " + m.GetIntent()
	}
	return text
}

// said adds the rows of what one gateway read in an answer, beside what the record's
// operation has of it.
func said(g *Grid, s *crossingv1.Said) {
	if s == nil {
		return
	}
	if text := pieces(s); text != "" {
		g.Row("", text)
	}
	if s.GetFailed() {
		g.Row("", strings.TrimSuffix("the answer is an error: "+s.GetFault(), ": "))
	}
	for _, t := range s.GetOutputs() {
		g.Row("", "answered with "+tensor(t))
	}
	if s.GetToolsListed() > 0 {
		g.Row("", fmt.Sprintf("%d listed, %d of them hidden from the caller", s.GetToolsListed(), s.GetToolsHidden()))
	}
	if len(s.GetToolsChanged()) > 0 {
		g.Row("", "not as the policy knows them: "+strings.Join(s.GetToolsChanged(), ", "))
	}
	if n := s.GetMessagesStopped(); n > 0 {
		g.Row("", fmt.Sprintf("messages to the caller that were stopped: %d", n))
	}
}

// pieces is which answer it was, what it cost here, and how it came.
func pieces(s *crossingv1.Said) string {
	var parts []string
	if s.GetId() != "" {
		parts = append(parts, "answer "+s.GetId())
	}
	if text := tokens(s.GetTokens()); text != "" {
		parts = append(parts, "tokens "+text)
	}
	if s.GetPieces() > 0 {
		parts = append(parts, fmt.Sprintf("%d pieces", s.GetPieces()))
	}
	if s.GetLongestGap() != nil {
		parts = append(parts, "longest gap "+span(s.GetLongestGap()))
	}
	if s.Cost != nil {
		parts = append(parts, "cost "+strconv.FormatFloat(float64(s.GetCost())/1e6, 'f', -1, 64))
	}
	return strings.Join(parts, ", ")
}
