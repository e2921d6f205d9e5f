package frame

import (
	"bytes"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// What both gateways must say alike of an AI service (gateway/crossing/FORMAT.md,
// "Join digest"), by the names of the fields.

func asked() [12]string {
	return [...]string{
		"request", "modelRequested", "modelVersion", "tool", "agent", "dataClass", "dataClassSource", "labeler", "maxTokens", "session", "artifact", "messages",
	}
}

func counts() []string { return []string{"input", "output", "cacheRead", "cacheWritten", "reasoning"} }

// asksAI says that an operation has any of them.
func asksAI(o *wire.Message) bool {
	for _, name := range asked() {
		if !o.Has(name) {
			continue
		}
		if name == "maxTokens" || name == "messages" || name == "artifact" || len(o.Bytes(name)) > 0 || o.Uint(name) > 0 {
			return true
		}
	}
	return false
}

func appendAsk(b []byte, o *wire.Message) []byte {
	b = appendTexts(b, o, "request", "modelRequested", "tool", "agent", "dataClass")
	b = appendNumbers(b, o, "dataClassSource")
	b = appendTexts(b, o, "labeler")
	b = appendIfAny(b, o, "maxTokens")
	b = appendMessages(appendTexts(b, o, "session"), o)
	if saysVersion(o) {
		b = wire.AppendVarint(appendTexts(b, o, "modelVersion"), uint64(o.Count("artifact")))
	}
	if !o.Has("artifact") {
		return b
	}
	return appendArtifact(b, o)
}

// saysVersion says that an operation is of a version of a model.
func saysVersion(o *wire.Message) bool { return len(o.Bytes("modelVersion")) > 0 }

func appendArtifact(b []byte, o *wire.Message) []byte {
	return appendTexts(b, o.Sub("artifact"), "name", "reference", "kind", "source")
}

func appendMessages(b []byte, o *wire.Message) []byte {
	all := o.Subs("messages")
	b = wire.AppendVarint(b, uint64(len(all)))
	for _, m := range all {
		b = appendNumbers(appendTexts(b, m, "name", "tool", "model"), m, "decision")
	}
	return b
}

func appendSaid(b []byte, s *wire.Message) []byte {
	b = appendTexts(b, s, "id", "modelServed", "finishReason")
	b = appendNumbers(b, s, "failed")
	return appendTokens(appendTexts(b, s, "fault"), s)
}

// appendTokens appends those that the provider reported.
func appendTokens(b []byte, s *wire.Message) []byte {
	tokens := s.Sub("tokens")
	if tokens.Uint("source") != message.Reported {
		return append(b, 0)
	}
	return appendIfAny(append(b, 1), tokens, counts()...)
}

func appendIfAny(b []byte, m *wire.Message, names ...string) []byte {
	for _, name := range names {
		if !m.Has(name) {
			b = append(b, 0)
			continue
		}
		b = wire.AppendVarint(append(b, 1), m.Uint(name))
	}
	return b
}

// asks adds the fields in which two operations differ in what an AI service is asked for.
func (d *differing) asks(e, i *wire.Message) {
	for _, name := range asked() {
		switch name {
		case "maxTokens":
			d.add("operation."+name, !bytes.Equal(appendIfAny(nil, e, name), appendIfAny(nil, i, name)))
		case "artifact":
			d.add("operation."+name, e.Has(name) != i.Has(name) || !bytes.Equal(appendArtifact(nil, e), appendArtifact(nil, i)))
		case "messages":
			d.add("operation."+name, !bytes.Equal(appendMessages(nil, e), appendMessages(nil, i)))
		case "dataClassSource":
			d.numbers("operation.", e, i, name)
		default:
			d.texts("operation.", e, i, name)
		}
	}
}

// said adds those in which two answers, of which both had all, differ.
func (d *differing) said(e, i *wire.Message) {
	if e == nil || i == nil {
		d.add("said", e != i)
		return
	}
	d.texts("said.", e, i, "id")
	d.texts("operation.", e, i, "modelServed", "finishReason")
	d.numbers("said.", e, i, "failed")
	d.texts("said.", e, i, "fault")
	d.add("operation.tokens", !bytes.Equal(appendTokens(nil, e), appendTokens(nil, i)))
}
