package protocols

import (
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// TestOf: a protocol that is read is one that a policy may name, and reads its own
// requests. That of S3 has nothing to read, but refusals of its own.
func TestOf(t *testing.T) {
	asks := map[string]string{
		"openai": "POST /v1/chat/completions", "anthropic": "POST /v1/messages", "mcp": "POST /mcp", "kserve": "POST /v2/models/m/infer",
		"oci": "PUT /v2/llm/manifests/v1", "s3": "",
	}
	for _, name := range policy.Protocols() {
		p := Of(name)
		ask, known := asks[name]
		if (p != nil) != known {
			t.Errorf("%s: %T", name, p)
		}
		delete(asks, name)
		if ask == "" {
			continue
		}
		method, path, _ := strings.Cut(ask, " ")
		head := &l7.RequestHead{Method: method, Path: path, Fields: l7.Fields{{Name: "content-type", Value: "application/json"}}}
		if r, _ := p.Request(head); r == nil {
			t.Errorf("%s does not read %s", name, ask)
		}
	}
	if len(asks) > 0 {
		t.Errorf("no policy may name %v", asks)
	}
}
