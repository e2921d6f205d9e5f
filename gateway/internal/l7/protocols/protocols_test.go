package protocols

import (
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// TestOf: a protocol that is read is one that a policy may name, and reads its own
// requests.
func TestOf(t *testing.T) {
	paths := map[string]string{"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "mcp": "/mcp", "kserve": "/v2/models/m/infer"}
	for _, name := range policy.Protocols() {
		p := Of(name)
		if (p != nil) != (paths[name] != "") {
			t.Errorf("%s: %T", name, p)
		}
		if p == nil {
			continue
		}
		head := &l7.RequestHead{Method: "POST", Path: paths[name], Fields: l7.Fields{{Name: "content-type", Value: "application/json"}}}
		if r, _ := p.Request(head); r == nil {
			t.Errorf("%s does not read POST %s", name, paths[name])
		}
		delete(paths, name)
	}
	if len(paths) > 0 {
		t.Errorf("no policy may name %v", paths)
	}
}
