package sought

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestIn(t *testing.T) {
	chat := &crossingv1.Operation{Protocol: "openai", Name: "chat", ModelRequested: "gpt-4o", ModelServed: "gpt-4o-2024-08-06", DataClass: "internal"}
	tool := &crossingv1.Operation{Protocol: "mcp", Name: "call_tool", Tool: "search"}
	batch := &crossingv1.Operation{Protocol: "mcp", Name: "batch", Messages: []*crossingv1.Operation_Message{
		{Name: "list_tools"}, {Name: "call_tool", Tool: "delete"}, {Name: "chat", Model: "claude-4"},
	}}
	pull := &crossingv1.Operation{Protocol: "oci", Name: "GET /v2/", DataClass: "internal"}
	all := []*crossingv1.Operation{chat, tool, batch, pull, nil}
	for _, test := range []struct {
		name string
		ask  *controlv1.ListCrossingsRequest
		want []*crossingv1.Operation
	}{
		{"nothing", &controlv1.ListCrossingsRequest{}, all},
		{"what is none of its business", &controlv1.ListCrossingsRequest{From: "onprem", Limit: 1}, all},
		{"AI services", &controlv1.ListCrossingsRequest{Ai: true}, []*crossingv1.Operation{chat, tool, batch}},
		{"a model", &controlv1.ListCrossingsRequest{ModelPrefix: "gpt-4o"}, []*crossingv1.Operation{chat}},
		{"the beginning of one", &controlv1.ListCrossingsRequest{ModelPrefix: "gpt"}, []*crossingv1.Operation{chat}},
		{"one that only serves", &controlv1.ListCrossingsRequest{ModelPrefix: "gpt-4o-2024"}, []*crossingv1.Operation{chat}},
		{"one in a batch", &controlv1.ListCrossingsRequest{ModelPrefix: "claude"}, []*crossingv1.Operation{batch}},
		{"the end of one", &controlv1.ListCrossingsRequest{ModelPrefix: "4o"}, nil},
		{"in other letters", &controlv1.ListCrossingsRequest{ModelPrefix: "GPT"}, nil},
		{"a tool", &controlv1.ListCrossingsRequest{Tool: "search"}, []*crossingv1.Operation{tool}},
		{"the beginning of a tool", &controlv1.ListCrossingsRequest{Tool: "sear"}, nil},
		{"a tool in a batch", &controlv1.ListCrossingsRequest{Tool: "delete"}, []*crossingv1.Operation{batch}},
		{"a class", &controlv1.ListCrossingsRequest{DataClass: "internal"}, []*crossingv1.Operation{chat, pull}},
		{"a class, of AI services", &controlv1.ListCrossingsRequest{DataClass: "internal", Ai: true}, []*crossingv1.Operation{chat}},
		{"a model and a tool", &controlv1.ListCrossingsRequest{ModelPrefix: "gpt", Tool: "search"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			ask := Of(test.ask)
			for _, op := range all {
				if got, want := ask.In(op), slices.Contains(test.want, op); got != want {
					t.Errorf("%+v in %v = %t, want %t", ask, op, got, want)
				}
			}
		})
	}
}

// The end of a crossing adds the model that serves, and takes back nothing.
func TestWhatIsInStaysIn(t *testing.T) {
	open := &crossingv1.Operation{Protocol: "openai", ModelRequested: "a", Tool: "t", DataClass: "c"}
	closed := proto.CloneOf(open)
	closed.ModelServed = "b"
	for _, a := range []Ask{{}, {AI: true}, {Model: "a"}, {Tool: "t"}, {DataClass: "c"}, {true, "a", "t", "c"}} {
		if !a.In(open) || !a.In(closed) {
			t.Errorf("%+v: open %t, closed %t", a, a.In(open), a.In(closed))
		}
	}
	if b := (Ask{Model: "b"}); b.In(open) || !b.In(closed) {
		t.Errorf("%+v: open %t, closed %t", b, b.In(open), b.In(closed))
	}
}

// A new protocol of the policy is one of AI services or is not: somebody has to say.
func TestOfAIKnowsEveryProtocol(t *testing.T) {
	others := []string{"http", "grpc", "oci", "s3", "hub", "kserve", policy.TCP, policy.TLS}
	for _, protocol := range policy.Protocols() {
		if OfAI(&crossingv1.Operation{Protocol: protocol}) == slices.Contains(others, protocol) {
			t.Errorf("%s: is it spoken by AI services?", protocol)
		}
	}
}
