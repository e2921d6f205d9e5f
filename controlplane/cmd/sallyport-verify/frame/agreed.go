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
	kind := byte(1)
	if denied {
		kind = 2
	}
	b = wire.AppendVarint(append(b, kind), p.Number)
	b = appendTexts(b, p.Of, "id", "source", "destination", "trace")
	if denied {
		return b
	}
	b = appendTexts(b, p.Of.Sub("transition"), "from", "to", "owner")
	return appendTexts(b, p.Of.Sub("operation"), "service", "name", "authority")
}

func (p *Place) appendEnd(b []byte) []byte {
	done := p.Of.Uint("cause") == message.Done
	kind := byte(4)
	if done {
		kind = 3
	}
	b = wire.AppendVarint(append(b, kind), p.Number)
	b = appendTexts(b, p.Of, "id")
	if done {
		b = appendNumbers(b, p.Of, "requestBytes", "responseBytes", "status")
	}
	t := p.Of.Sub("transfer")
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
