// Package sought says which crossings are looked for by what an AI service is asked for
// in them: by whoever has records in memory and whoever has them in a store, alike.
//
// The one invariant: what it says yes to it says yes to ever after, for the end of a
// crossing takes nothing back of its opening. Who follows crossings misses none.
package sought

import (
	"slices"
	"strings"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Ask is what is looked for. Empty fields match any.
type Ask struct {
	// AI are AI services only, by the protocol that they speak.
	AI bool
	// Model is what the name begins with of a model that is asked for or that serves.
	Model string
	// Tool that is called, prompt that is got, or resource that is read.
	Tool string
	// DataClass of what the caller sends.
	DataClass string
}

// Of is what a request looks for.
func Of(req *controlv1.ListCrossingsRequest) Ask {
	return Ask{AI: req.GetAi(), Model: req.GetModelPrefix(), Tool: req.GetTool(), DataClass: req.GetDataClass()}
}

// Any says that nothing is looked for, and any operation will do.
func (a Ask) Any() bool { return a == Ask{} }

// In says that an operation is looked for. Of a batch one message is enough.
func (a Ask) In(op *crossingv1.Operation) bool {
	return a.Any() || (!a.AI || OfAI(op)) && a.model(op) && a.tool(op) &&
		(a.DataClass == "" || a.DataClass == op.GetDataClass())
}

func (a Ask) model(op *crossingv1.Operation) bool {
	return strings.HasPrefix(op.GetModelRequested(), a.Model) || strings.HasPrefix(op.GetModelServed(), a.Model) ||
		slices.ContainsFunc(op.GetMessages(), func(m *crossingv1.Operation_Message) bool { return strings.HasPrefix(m.GetModel(), a.Model) })
}

func (a Ask) tool(op *crossingv1.Operation) bool {
	return a.Tool == "" || a.Tool == op.GetTool() ||
		slices.ContainsFunc(op.GetMessages(), func(m *crossingv1.Operation_Message) bool { return m.GetTool() == a.Tool })
}

// OfAI says that an operation is one of an AI service: of a model, of tools or of an
// agent. A gateway knows by the policy what a service speaks, even of a request that it
// did not read.
func OfAI(op *crossingv1.Operation) bool {
	switch op.GetProtocol() {
	case "openai", "anthropic", "mcp", "a2a":
		return true
	}
	return false
}
