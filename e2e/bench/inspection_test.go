//go:build linux

package bench

import (
	"flag"
	"strconv"
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// inspectionRounds is how often the package under test measures each figure, the least of
// which counts.
var inspectionRounds = flag.Int("least-of", 5, "rounds of TestInspectionGoals: go test ./e2e/bench -run TestInspectionGoals -v -args -least-of 100")

// Peers are what encoding/json takes for the same texts: a request into a struct of five
// fields, and the events of a stream, which bufio.Scanner cuts.
const jsonPeer = "encoding/json"

// inspectionGoals are the rows of what the reading of contents adds, at one gateway. That a
// token allocates nothing is held by the package's own tests.
func inspectionGoals() []goal {
	var all []goal
	for _, protocol := range []string{"openai", "anthropic"} {
		for _, gateway := range []string{"egress", "ingress"} {
			chat := protocol + ", a chat at the " + gateway + " gateway, added, us of CPU"
			all = append(all,
				goal{ours: "inspection", kind: chat, limit: 15},
				goal{ours: "inspection", kind: chat, peer: jsonPeer, limit: 1},
				goal{ours: "inspection", kind: protocol + ", a stream at the " + gateway + " gateway, added, bytes", limit: 32 << 10})
		}
		token := protocol + ", a streamed token, us of CPU"
		all = append(all,
			goal{ours: "inspection", kind: token, limit: 1},
			goal{ours: "inspection", kind: token, peer: jsonPeer, limit: 0.3})
	}
	return append(all, goal{ours: "inspection", kind: meshChat}, goal{ours: "inspection", kind: meshToken})
}

// TestInspectionGoals prints what the inspection of AI traffic takes, which the package
// that does it measures. It fails on an error, on a token that allocates, and on a row that
// is missing, never on another figure.
func TestInspectionGoals(t *testing.T) {
	meshtest.Long(t)
	f := &figures{samples: map[cell][]float64{}, missing: map[string]string{}}
	extra, err := measured(t.Context(), f, inspectionGoals(), "gateway/internal/exchange",
		[]string{"-test.run=^(TestInspectionGoals|TestHeardTokens|TestStreamMemory)$", "-rounds", strconv.Itoa(*inspectionRounds)})
	if err != nil {
		t.Fatal(err)
	}
	meshInspection(t, f, min(*inspectionRounds, 10))
	reportGoals(t, f, inspectionGoals(), extra)
}
