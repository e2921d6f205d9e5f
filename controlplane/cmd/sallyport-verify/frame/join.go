package frame

import (
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// Account is what one gateway wrote of a crossing; nil is what is not there.
type Account struct{ Open, Close *wire.Message }

// Differences names the fields in which two accounts differ and must not, as a record does
// (gateway/crossing/FORMAT.md, "Differences"), as far as both have the opening, or the end.
func Differences(egress, ingress Account) []string {
	var d differing
	if egress.Open != nil && ingress.Open != nil {
		d.openings(egress.Open, ingress.Open)
	}
	if egress.Close != nil && ingress.Close != nil {
		denied := ingress.Open.Sub("end").Uint("decision") == message.Deny && egress.Open.Sub("end").Uint("decision") != message.Deny
		d.ends(egress.Close, ingress.Close, denied)
	}
	return d
}

type differing []string

func (d *differing) add(field string, differs bool) {
	if differs {
		*d = append(*d, field)
	}
}

// texts adds the fields of those names whose texts differ.
func (d *differing) texts(prefix string, e, i *wire.Message, names ...string) {
	for _, name := range names {
		d.add(prefix+name, string(e.Bytes(name)) != string(i.Bytes(name)))
	}
}

// numbers adds those whose numbers differ.
func (d *differing) numbers(prefix string, e, i *wire.Message, names ...string) {
	for _, name := range names {
		d.add(prefix+name, e.Uint(name) != i.Uint(name))
	}
}

func (d *differing) openings(e, i *wire.Message) {
	d.texts("", e, i, "id", "source", "destination", "trace")
	if i.Sub("end").Uint("decision") != message.Deny { // else it may not have come so far as to know
		d.texts("transition.", e.Sub("transition"), i.Sub("transition"), "from", "to", "owner")
		d.texts("operation.", e.Sub("operation"), i.Sub("operation"), "service", "name", "authority")
		d.asks(e.Sub("operation"), i.Sub("operation"))
	}
	ours, theirs := e.Sub("end").Text("proof"), i.Sub("end").Text("proof")
	d.add("proof", ours != "" && theirs != "" && ours != theirs)
	d.add("decision", e.Sub("end").Uint("decision") == message.Deny)
}

func (d *differing) ends(e, i *wire.Message, denied bool) {
	d.texts("", e, i, "id")
	cause, other := e.Uint("cause"), i.Uint("cause")
	both := cause == message.Done && other == message.Done
	d.add("decision", denied && cause != message.RefusedByPeer && !brokenOff(cause))
	d.add("close", cause == message.RefusedByPeer && other == message.Done ||
		cause == message.Done && !denied && other != message.Done && other != message.PeerLost && other != message.Stopped)
	if both {
		d.numbers("", e, i, "requestBytes", "responseBytes", "status")
		d.add("transfer", e.Has("transfer") != i.Has("transfer"))
	}
	d.transfers(e.Sub("transfer"), i.Sub("transfer"), both)
	if both {
		d.said(e.Sub("said"), i.Sub("said"))
		d.texts("", e, i, "answerClass", "answerLabeler")
	}
}

func (d *differing) transfers(e, i *wire.Message, both bool) {
	if e == nil || i == nil {
		return
	}
	if both || len(e.Bytes("id")) > 0 && len(i.Bytes("id")) > 0 {
		d.texts("transfer.", e, i, "id")
		d.numbers("transfer.", e, i, "extent", "first")
	}
	if both {
		d.texts("transfer.", e, i, "contentSha256")
		d.numbers("transfer.", e, i, "digested")
	}
}

// brokenOff says that an egress gateway with that cause may have missed the answer.
func brokenOff(cause uint64) bool {
	switch cause {
	case message.CallerGone, message.PeerLost, message.Stopped, message.ProtocolError, message.Refused:
		return true
	}
	return false
}
