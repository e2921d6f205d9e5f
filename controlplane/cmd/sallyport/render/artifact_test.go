package render

import (
	"bytes"
	"strings"
	"testing"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestArtifact: a line names the operation and the object, and a record all that is known of it.
func TestArtifact(t *testing.T) {
	op := &crossingv1.Operation{
		Protocol: "oci", Name: "mount", Request: "POST /v2/org/llm/blobs/uploads/",
		Artifact: &crossingv1.Artifact{Name: "org/llm", Reference: "sha256:77", Kind: "model", Source: "org/base"},
	}
	if got, want := operation(&crossingv1.Record{Operation: op}), "oci mount org/llm"; got != want {
		t.Errorf("operation %q, want %q", got, want)
	}
	g := NewGrid()
	aiService(g, op)
	var b bytes.Buffer
	if err := g.Flush(&b); err != nil || !strings.Contains(b.String(), "model org/llm at sha256:77, from org/base") {
		t.Errorf("the record shows %q, %v", b.String(), err)
	}
}

// TestFormat: what an object is, and that it is a pickle.
func TestFormat(t *testing.T) {
	tensors, data := uint64(291), uint64(582)
	for want, moved := range map[string]*crossingv1.Transfer{
		"":                        {},
		", gguf with 291 tensors": {Format: "gguf", Tensors: &tensors},
		", safetensors with 291 tensors of 582 B in BF16, F32": {Format: "safetensors", Tensors: &tensors, Data: &data, Dtypes: []string{"BF16", "F32"}},
		", safetensors, inconsistent":                          {Format: "safetensors", Inconsistent: true},
		", a manifest: model":                                  {Kind: "model"},
		", pytorch, a pickle":                                  {Format: "pytorch", Pickle: true},
	} {
		if got := format(moved); got != want {
			t.Errorf("format %q, want %q", got, want)
		}
	}
}

// TestLines: how many lines of a dataset passed is shown where they were counted.
func TestLines(t *testing.T) {
	lines := uint64(0)
	for want, moved := range map[string]*crossingv1.Transfer{
		" of 9 B":          {Digested: 9},
		" of 9 B, 0 lines": {Digested: 9, Lines: &lines},
	} {
		if got := digested(moved); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
