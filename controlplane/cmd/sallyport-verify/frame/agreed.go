package frame

import (
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// AppendAgreed appends what both gateways must say alike of an opening, or of an end
// (gateway/crossing/FORMAT.md, "Join digest").
func (p *Place) AppendAgreed(b []byte) []byte {
	if p.Ending {
		return p.appendEnd(b)
	}
	denied := p.Side == message.Ingress && p.Of.Sub("end").Uint("decision") == message.Deny
	operation := p.Of.Sub("operation")
	asks := !denied && asksAI(operation)
	kind := byte(1)
	switch {
	case denied:
		kind = 2
	case asks && saysVersion(operation):
		kind = 8
	case asks && operation.Has("artifact"):
		kind = 7
	case asks:
		kind = 5
	}
	b = wire.AppendVarint(append(b, kind), p.Number)
	b = appendTexts(b, p.Of, "id", "source", "destination", "trace")
	if denied {
		return b
	}
	b = appendTexts(b, p.Of.Sub("transition"), "from", "to", "owner")
	b = appendTexts(b, operation, "service", "name", "authority")
	if asks {
		b = appendAsk(b, operation)
	}
	return b
}

func (p *Place) appendEnd(b []byte) []byte {
	done := p.Of.Uint("cause") == message.Done
	said := p.Of.Sub("said")
	if done && len(p.Of.Bytes("answerLabeler")) > 0 {
		b = appendTexts(append(b, 10), p.Of, "answerClass", "answerLabeler")
	}
	kind := byte(4)
	switch {
	case done && said != nil:
		kind = 6
	case done:
		kind = 3
	}
	b = wire.AppendVarint(append(b, kind), p.Number)
	b = appendTexts(b, p.Of, "id")
	if done {
		b = appendNumbers(b, p.Of, "requestBytes", "responseBytes", "status")
	}
	b = appendTransfer(b, p.Of.Sub("transfer"), done)
	if kind == 6 {
		b = appendSaid(b, said)
	}
	return b
}

func appendTransfer(b []byte, t *wire.Message, done bool) []byte {
	if t == nil || !done && len(t.Bytes("id")) == 0 {
		return append(b, 0)
	}
	b = appendTexts(append(b, 1), t, "id")
	b = appendNumbers(b, t, "extent", "first")
	if done {
		b = appendTexts(b, t, "contentSha256")
		b = appendNumbers(b, t, "digested")
	}
	return b
}

func appendTexts(b []byte, m *wire.Message, names ...string) []byte {
	for _, name := range names {
		text := m.Bytes(name)
		b = append(wire.AppendVarint(b, uint64(len(text))), text...)
	}
	return b
}

func appendNumbers(b []byte, m *wire.Message, names ...string) []byte {
	for _, name := range names {
		b = wire.AppendVarint(b, m.Uint(name))
	}
	return b
}
