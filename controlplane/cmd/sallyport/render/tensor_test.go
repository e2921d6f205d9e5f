package render

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestTensor(t *testing.T) {
	for want, of := range map[string]*crossingv1.Tensor{
		"":                                    {},
		"pixels FP32[1,3,224,224], 588.0 KiB": {Name: "pixels", Datatype: "FP32", Shape: []int64{1, 3, 224, 224}, Bytes: proto.Uint64(602112)},
		"text BYTES[1]":                       {Name: "text", Datatype: "BYTES", Shape: []int64{1}},
		"empty FP32, 0 B":                     {Name: "empty", Datatype: "FP32", Bytes: proto.Uint64(0)},
	} {
		if got := tensor(of); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestInference: a line names the model and its version, and a record what went in and
// what came out.
func TestInference(t *testing.T) {
	op := &crossingv1.Operation{
		Protocol: "kserve", Name: "infer", ModelRequested: "resnet", ModelVersion: "2",
		Inputs: []*crossingv1.Tensor{{Name: "pixels"}, {Name: "mask"}},
	}
	if got, want := operation(&crossingv1.Record{Operation: op}), "kserve infer resnet version 2"; got != want {
		t.Errorf("operation %q, want %q", got, want)
	}
	g := NewGrid()
	aiService(g, op)
	said(g, &crossingv1.Said{Outputs: []*crossingv1.Tensor{{Name: "scores"}}})
	var b bytes.Buffer
	if err := g.Flush(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"asked for resnet version 2", "inputs", "pixels", "mask", "answered with scores"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
