package lint

import (
	"slices"
	"strings"
	"testing"
)

// gatewayMay is all that the gateway links of others, by module: it runs where
// the traffic is. A new line here is a decision.
var gatewayMay = []string{
	"filippo.io/age",                                   // content sealed to a reviewer
	"github.com/andybalholm/brotli/...",                // a content coding
	"github.com/envoyproxy/go-control-plane/envoy/...", // endpoints, as xDS carries them
	"github.com/go-jose/go-jose/v4/...",                // JWT-SVIDs
	"github.com/google/uuid",
	"github.com/klauspost/compress/...",       // content codings
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

// verifyMay is all that sallyport-verify links of others: nothing but what an auditor
// has who builds it, which is Go itself.
var verifyMay []string

func TestGatewayLinksLittle(t *testing.T) {
	linksOnly(t, "gateway/cmd/sallyport-gateway", []string{"..."}, gatewayMay)
}

func TestWitnessLinksLittle(t *testing.T) {
	linksOnly(t, "controlplane/internal/witness", []string{"..."}, witnessMay)
}

// TestVerifyLinksNothing: it checks what the rest of this repository makes, and shares no
// code with it.
func TestVerifyLinksNothing(t *testing.T) {
	const command = "controlplane/cmd/sallyport-verify"
	linksOnly(t, command, []string{command + "/..."}, verifyMay)
}

// linksOnly follows a package's imports through our own packages, and holds that it links
// of ours and of others what it may, and all of the latter.
func linksOnly(t *testing.T, command string, ours, others []string) {
	t.Helper()
	byPath := map[string]*pkg{}
	for _, p := range packages(t) {
		byPath[p.path] = p
	}
	if byPath[command] == nil {
		t.Fatalf("no package %s", command)
	}
	used := map[string]bool{}
	seen := map[string]bool{command: true}
	for queue := []string{command}; len(queue) > 0; queue = queue[1:] {
		for _, imported := range byPath[queue[0]].imports {
			if of, ok := strings.CutPrefix(imported, module); ok || imported == strings.TrimSuffix(module, "/") {
				if !matchAny(ours, of) {
					t.Errorf("%s imports %s: %s shares no code with it", queue[0], imported, command)
				}
				if !seen[of] {
					seen[of] = true
					queue = append(queue, of)
				}
				continue
			}
			if !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
				continue // the standard library
			}
			i := slices.IndexFunc(others, func(pattern string) bool { return match(pattern, imported) })
			if i < 0 {
				t.Errorf("%s imports %s: %s links little; is it worth it?", queue[0], imported, command)
				continue
			}
			used[others[i]] = true
		}
	}
	for _, pattern := range others {
		if !used[pattern] {
			t.Errorf("%s is on the list and not used", pattern)
		}
	}
}
