package crossing

import (
	"google.golang.org/protobuf/encoding/protowire"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// The functions of this file append what is said of AI services: a crossing that
// says nothing of one asks once whether it does.

// appendModels appends the fields of an operation before its authority.
func appendModels(b []byte, o *crossingv1.Operation) []byte {
	b = appendText(b, 5, o.ModelRequested)
	b = appendText(b, 6, o.ModelServed)
	b = appendText(b, 7, o.FinishReason)
	b = appendText(b, 8, o.DataClass)
	b = appendSigned(b, 9, int64(o.DataClassSource))
	return appendTokens(b, 10, o.Tokens)
}

// appendParts appends those behind it.
func appendParts(b []byte, o *crossingv1.Operation) []byte {
	b = appendDuration(b, 12, o.FirstToken)
	b = appendText(b, 13, o.Tool)
	b = appendText(b, 14, o.Agent)
	b = appendOptional(b, 15, o.MaxTokens)
	b = appendTexts(b, 16, o.Offered)
	for _, m := range o.Messages {
		b = appendMessage(b, 17, m)
	}
	b = appendText(b, 18, o.Session)
	b = appendText(b, 19, o.Request)
	b = appendText(b, 20, o.Labeler)
	b = appendText(b, 21, o.ModelVersion)
	b = appendTensors(b, 22, o.Inputs)
	return appendArtifact(b, 23, o.Artifact)
}

// appendTensors appends all of a list, empty ones and those that are nil too.
func appendTensors(b []byte, n protowire.Number, all []*crossingv1.Tensor) []byte {
	for _, t := range all {
		var began int
		b, began = enter(b, n)
		b = appendText(b, 1, t.GetName())
		b = appendText(b, 2, t.GetDatatype())
		b = appendShape(b, 3, t.GetShape())
		if t != nil {
			b = appendOptional(b, 4, t.Bytes)
		}
		b = leave(b, began)
	}
	return b
}

// appendShape appends numbers, packed.
func appendShape(b []byte, n protowire.Number, all []int64) []byte {
	if len(all) == 0 {
		return b
	}
	b, began := enter(b, n)
	for _, size := range all {
		b = protowire.AppendVarint(b, uint64(size))
	}
	return leave(b, began)
}

func appendArtifact(b []byte, n protowire.Number, a *crossingv1.Artifact) []byte {
	if a == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, a.Name)
	b = appendText(b, 2, a.Reference)
	b = appendText(b, 3, a.Kind)
	b = appendText(b, 4, a.Source)
	return leave(b, began)
}

// appendMessage appends one of several, which is there even if it is empty or nil.
func appendMessage(b []byte, n protowire.Number, m *crossingv1.Operation_Message) []byte {
	b, began := enter(b, n)
	b = appendText(b, 1, m.GetName())
	b = appendText(b, 2, m.GetTool())
	b = appendText(b, 3, m.GetIntent())
	b = appendSigned(b, 4, int64(m.GetDecision()))
	b = appendText(b, 5, m.GetModel())
	return leave(b, began)
}

func appendTokens(b []byte, n protowire.Number, t *crossingv1.Tokens) []byte {
	if t == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendOptional(b, 1, t.Input)
	b = appendOptional(b, 2, t.Output)
	b = appendOptional(b, 3, t.CacheRead)
	b = appendOptional(b, 4, t.CacheWritten)
	b = appendOptional(b, 5, t.Reasoning)
	b = appendSigned(b, 6, int64(t.Source))
	return leave(b, began)
}

func appendSaid(b []byte, n protowire.Number, s *crossingv1.Said) []byte {
	if s == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, s.Id)
	b = appendText(b, 2, s.ModelServed)
	b = appendText(b, 3, s.FinishReason)
	b = appendTokens(b, 4, s.Tokens)
	b = appendDuration(b, 5, s.FirstToken)
	b = appendDuration(b, 6, s.LongestGap)
	b = appendNumber(b, 7, s.Pieces)
	b = appendFlag(b, 8, s.Failed)
	b = appendText(b, 9, s.Fault)
	b = appendNumber(b, 10, s.ToolsListed)
	b = appendNumber(b, 11, s.ToolsHidden)
	b = appendTexts(b, 12, s.ToolsChanged)
	b = appendNumber(b, 13, s.MessagesStopped)
	b = appendOptional(b, 14, s.Cost)
	b = appendTensors(b, 15, s.Outputs)
	return leave(b, began)
}

func appendKept(b []byte, n protowire.Number, k *crossingv1.Kept) []byte {
	if k == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, k.Request)
	b = appendText(b, 2, k.Answer)
	b = appendFlag(b, 3, k.Cut)
	b = appendFlag(b, 4, k.Broken)
	return leave(b, began)
}
