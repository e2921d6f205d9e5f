package lint

import (
	"slices"
	"strings"
	"testing"
)

// gatewayMay is all that the gateway links of others, by module: it runs where
// the traffic is. A new line here is a decision.
var gatewayMay = []string{
	"github.com/envoyproxy/go-control-plane/envoy/...", // endpoints, as xDS carries them
	"github.com/go-jose/go-jose/v4/...",                // JWT-SVIDs
	"github.com/google/uuid",
	"github.com/prometheus/client_golang/...", // metrics
	"github.com/quic-go/quic-go/...",
	"github.com/spiffe/go-spiffe/v2/...",
	"go.uber.org/zap/...",
	"golang.org/x/net/http2/hpack", // header compression of HTTP/2
	"golang.org/x/net/ipv4",        // batches of datagrams, as quic-go reads them
	"golang.org/x/sync/...",
	"golang.org/x/sys/...",
	"google.golang.org/genproto/googleapis/rpc/...",
	"google.golang.org/grpc/...",
	"google.golang.org/protobuf/...",
}

// TestGatewayLinksLittle follows the gateway command's imports through our own
// packages and holds what they import of others to the list.
func TestGatewayLinksLittle(t *testing.T) {
	byPath := map[string]*pkg{}
	for _, p := range packages(t) {
		byPath[p.path] = p
	}
	const command = "gateway/cmd/sallyport-gateway"
	if byPath[command] == nil {
		t.Fatalf("no package %s", command)
	}
	used := map[string]bool{}
	seen := map[string]bool{command: true}
	for queue := []string{command}; len(queue) > 0; queue = queue[1:] {
		for _, imported := range byPath[queue[0]].imports {
			if ours, ok := strings.CutPrefix(imported, module); ok || imported == strings.TrimSuffix(module, "/") {
				if !seen[ours] {
					seen[ours] = true
					queue = append(queue, ours)
				}
				continue
			}
			if !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
				continue // the standard library
			}
			i := slices.IndexFunc(gatewayMay, func(pattern string) bool { return match(pattern, imported) })
			if i < 0 {
				t.Errorf("%s imports %s: the gateway links little; is it worth it?", queue[0], imported)
				continue
			}
			used[gatewayMay[i]] = true
		}
	}
	for _, pattern := range gatewayMay {
		if !used[pattern] {
			t.Errorf("%s is on the list and not used", pattern)
		}
	}
}
