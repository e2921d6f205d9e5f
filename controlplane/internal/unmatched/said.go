package unmatched

import (
	"fmt"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// askValue is what an opening has of what an AI service is asked for.
func askValue(o *crossingv1.Operation, field string) any {
	switch field {
	case "operation.request":
		return o.GetRequest()
	case "operation.modelRequested":
		return o.GetModelRequested()
	case "operation.modelVersion":
		return o.GetModelVersion()
	case "operation.tool":
		return o.GetTool()
	case "operation.agent":
		return o.GetAgent()
	case "operation.dataClass":
		return o.GetDataClass()
	case "operation.dataClassSource":
		return o.GetDataClassSource()
	case "operation.labeler":
		return o.GetLabeler()
	case "operation.maxTokens":
		if o == nil || o.MaxTokens == nil {
			return ""
		}
		return o.GetMaxTokens()
	case "operation.session":
		return o.GetSession()
	case "operation.artifact":
		a := o.GetArtifact()
		return spaced(a.GetKind(), a.GetName(), a.GetReference(), a.GetSource())
	case "operation.messages":
		return batch(o.GetMessages())
	}
	return nil
}

// spaced are the words that there are.
func spaced(words ...string) string {
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// batch is what is asked for in a batch, and how it was decided.
func batch(messages []*crossingv1.Operation_Message) string {
	all := make([]string, 0, len(messages))
	for _, m := range messages {
		all = append(all, spaced(m.GetName(), m.GetTool(), m.GetDecision().String()))
	}
	return strings.Join(all, ", ")
}

// saidValue is what an end has of an AI service's answer.
func saidValue(s *crossingv1.Said, field string) any {
	switch field {
	case "said.id":
		return s.GetId()
	case "operation.modelServed":
		return s.GetModelServed()
	case "operation.finishReason":
		return s.GetFinishReason()
	case "said.failed":
		return s.GetFailed()
	case "said.fault":
		return s.GetFault()
	case "operation.tokens":
		return reported(s.GetTokens())
	}
	return nil
}

// reported are the tokens that a provider reported; "" if it reported none.
func reported(t *crossingv1.Tokens) string {
	if t.GetSource() != crossingv1.Tokens_REPORTED {
		return ""
	}
	var all []string
	for _, c := range [...]struct {
		name string
		n    *uint32
	}{{"input", t.Input}, {"output", t.Output}, {"cache read", t.CacheRead}, {"cache written", t.CacheWritten}, {"reasoning", t.Reasoning}} {
		if c.n != nil {
			all = append(all, fmt.Sprintf("%s %d", c.name, *c.n))
		}
	}
	return strings.Join(all, ", ")
}
