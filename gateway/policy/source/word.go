package source

import (
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

// proofWord is `require: workload-proof`, for `require: {workloadProof: true}`.
const proofWord = "workload-proof"

// isWord says that a text stands where keys and values may, and a word is enough.
func isWord(n *yaml.Node, fd protoreflect.FieldDescriptor) bool {
	return n.Kind == yaml.ScalarNode && n.Tag != "!!null" && fd.Message() != nil &&
		fd.Message().FullName() == "sallyport.policy.v1.Require"
}

// word reads a requirement that is a word. What it says is what the keys and values
// would, and so is the policy's one form.
func (d *document) word(n *yaml.Node, m protoreflect.Message, path string) {
	switch {
	case !d.plain(n):
		d.spoiled[path] = true
	case n.Value != proofWord:
		d.spoiled[path] = true
		d.fail(d.placeOf(n), "%s takes the word %s, or keys and values, not %s%s",
			nameOf(path), proofWord, describe(n), nearest.Hint(n.Value, []string{proofWord}))
	default:
		m.Set(m.Descriptor().Fields().ByName("workload_proof"), protoreflect.ValueOfBool(true))
	}
}
