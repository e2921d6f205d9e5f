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

// witnessMay is all that a witness links of others: an auditor is to read it.
var witnessMay = []string{
	"go.uber.org/zap/...",
	"golang.org/x/mod/sumdb/note", // signed notes
	"golang.org/x/mod/sumdb/tlog", // consistency proofs
	"golang.org/x/net/netutil",
	"golang.org/x/sys/...",
}

func TestGatewayLinksLittle(t *testing.T) {
	linksLittle(t, "gateway/cmd/sallyport-gateway", gatewayMay)
}

func TestWitnessLinksLittle(t *testing.T) {
	linksLittle(t, "controlplane/internal/witness", witnessMay)
}

// linksLittle follows a package's imports through our own packages and holds what
// they import of others to the list.
func linksLittle(t *testing.T, from string, may []string) {
	t.Helper()
	byPath := map[string]*pkg{}
	for _, p := range packages(t) {
		byPath[p.path] = p
	}
	if byPath[from] == nil {
		t.Fatalf("no package %s", from)
	}
	used := map[string]bool{}
	seen := map[string]bool{from: true}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
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
			i := slices.IndexFunc(may, func(pattern string) bool { return match(pattern, imported) })
			if i < 0 {
				t.Errorf("%s imports %s: %s links little; is it worth it?", queue[0], imported, from)
				continue
			}
			used[may[i]] = true
		}
	}
	for _, pattern := range may {
		if !used[pattern] {
			t.Errorf("%s is on the list and not used", pattern)
		}
	}
}
