package render

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing/genai"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestCallTotals(t *testing.T) {
	call := func(model string, d crossingv1.Decision, tokens *crossingv1.Tokens) *crossingv1.Record {
		return &crossingv1.Record{
			Operation: &crossingv1.Operation{ModelRequested: model, Tokens: tokens}, Egress: &crossingv1.End{Decision: d},
		}
	}
	const allow, deny = crossingv1.Decision_ALLOW, crossingv1.Decision_DENY
	reported := &crossingv1.Tokens{Input: proto.Uint32(10), Output: proto.Uint32(2), Source: crossingv1.Tokens_REPORTED}
	counted := &crossingv1.Tokens{Output: proto.Uint32(7), Source: crossingv1.Tokens_COUNTED}
	input := &crossingv1.Tokens{Input: proto.Uint32(1 << 31), Source: crossingv1.Tokens_REPORTED}
	zero := &crossingv1.Tokens{Input: proto.Uint32(0), Output: proto.Uint32(0), Source: crossingv1.Tokens_REPORTED}
	served := call("", allow, reported)
	served.Operation.ModelServed = "stand-in"
	for _, test := range []struct {
		name string
		all  []*crossingv1.Record
		want string
	}{
		{"none of a model", []*crossingv1.Record{call("", allow, nil)}, "1 call, 0 denied"},
		{"all reported", []*crossingv1.Record{call("a", allow, reported), call("a", allow, reported)}, "2 calls, 0 denied; a: 20 in, 4 out"},
		{"some counted", []*crossingv1.Record{call("a", allow, reported), call("a", allow, counted)}, "2 calls, 0 denied; a: ≥10 in, ≥9 out"},
		{"some unknown", []*crossingv1.Record{call("a", allow, reported), call("a", allow, nil)}, "2 calls, 0 denied; a: 10 in, 2 out, 1 call unknown"},
		{"denied ones took nothing", []*crossingv1.Record{call("a", deny, nil), call("a", deny, nil)}, "2 calls, 2 denied"},
		{"denied after the answer", []*crossingv1.Record{call("a", deny, reported)}, "1 call, 1 denied; a: 10 in, 2 out"},
		{"beyond 32 bits", []*crossingv1.Record{call("a", allow, input), call("a", allow, input)}, "2 calls, 0 denied; a: 4294967296 in, ≥0 out"},
		{"zero is known", []*crossingv1.Record{call("a", allow, zero)}, "1 call, 0 denied; a: 0 in, 0 out"},
		{"by model", []*crossingv1.Record{call("b", allow, reported), call("a", allow, reported), served}, "3 calls, 0 denied; a: 10 in, 2 out; b: 10 in, 2 out; stand-in: 10 in, 2 out"},
	} {
		var out bytes.Buffer
		if err := CallTotals(&out, test.all); err != nil || out.String() != "\n"+test.want+"\n" {
			t.Errorf("%s: %q (%v), want %q", test.name, out.String(), err, test.want)
		}
	}
}

func TestModels(t *testing.T) {
	batch := []*crossingv1.Operation_Message{{Model: "a"}, {Model: "b"}, {Model: "a"}, {}}
	for _, test := range []struct {
		op   *crossingv1.Operation
		want string
	}{
		{nil, ""},
		{&crossingv1.Operation{ModelRequested: "a"}, "a"},
		{&crossingv1.Operation{ModelRequested: "a", ModelServed: "a"}, "a"},
		{&crossingv1.Operation{ModelRequested: "a", ModelServed: "b"}, "a ─► b"},
		{&crossingv1.Operation{ModelServed: "b"}, "b"},
		{&crossingv1.Operation{Messages: batch}, "a, b"},
	} {
		if got := models(test.op); got != test.want {
			t.Errorf("models(%v) = %q, want %q", test.op, got, test.want)
		}
	}
}

// A name that fills a line is cut, wide characters as what they take.
func TestClipped(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{strings.Repeat("a", maxCell), strings.Repeat("a", maxCell)},
		{strings.Repeat("a", maxCell+1), strings.Repeat("a", maxCell-1) + "…"},
		{strings.Repeat("語", maxCell), strings.Repeat("語", maxCell/2-1) + "…"},
	} {
		if got := clipped(test.in); got != test.want || columns(got) > maxCell {
			t.Errorf("clipped(%q) = %q, %d columns", test.in, got, columns(got))
		}
	}
}

func TestAttributes(t *testing.T) {
	var out bytes.Buffer
	err := WriteLine(&out, Attributes([]genai.Attribute{
		{Name: "n", Value: int64(1 << 60)}, {Name: "s", Value: "x"}, {Name: "d", Value: 0.25}, {Name: "b", Value: true}, {Name: "l", Value: []string{"stop"}},
	}))
	if want := `{"n":1152921504606846976,"s":"x","d":0.25,"b":true,"l":["stop"]}` + "\n"; err != nil || out.String() != want {
		t.Errorf("%s (%v), want %s", out.String(), err, want)
	}
}
