package lint

import (
	"slices"
	"strings"
	"testing"
)

// A rule says what the packages under from may import. The first rule that
// matches a package governs it; a package that no rule matches is an error.
type rule struct {
	from  string
	allow []string // ours, module-relative
	deny  []string // anyone's, full path
	why   string
}

var (
	meaning = []string{"gateway/policy/...", "gateway/act", "gateway/crossing", "gateway/crossing/genai", "gateway/label", "gateway/statement", "gateway/mux"}
	effects = []string{
		"net", "net/http", "os", "os/exec", "log", "go.uber.org/zap/...",
		"github.com/quic-go/...", "google.golang.org/grpc",
	}
)

func with(base []string, more ...string) []string { return append(slices.Clone(base), more...) }

var rules = []rule{
	{"proto/...", []string{"proto/..."}, nil, "the wire contract depends on nothing of ours"},
	{"deploy/...", nil, nil, "deploy is data"},
	{"certs/...", []string{"certs/...", "proto/..."}, nil, "identity is below both planes"},
	{"gateway/policy/network", []string{"proto/..."}, effects, "meaning has no effects"},
	{"gateway/policy/jcs", nil, effects, "meaning has no effects"},
	{"gateway/policy/nearest", nil, effects, "meaning has no effects"},
	{"gateway/policy/limits", []string{"gateway/policy/nearest"}, effects, "meaning has no effects"},
	{"gateway/policy/address", nil, effects, "meaning has no effects"},
	{"gateway/policy/costs", []string{"proto/..."}, effects, "meaning has no effects"},
	{"gateway/policy/kept", []string{"proto/...", "gateway/policy/address", "gateway/policy/nearest"}, effects, "meaning has no effects"},
	{"gateway/policy", []string{"proto/...", "gateway/policy/network", "gateway/policy/nearest", "gateway/policy/address", "gateway/policy/limits", "gateway/policy/costs", "gateway/policy/kept"}, with(effects, "cel.dev/...", "go.yaml.in/..."), "meaning has no effects, and a gateway links no CEL and no YAML"},
	{"gateway/policy/signed", []string{"proto/...", "gateway/policy", "gateway/policy/jcs"}, effects, "meaning has no effects"},
	{"gateway/policy/dataclass", []string{"gateway/policy", "proto/..."}, effects, "meaning has no effects"},
	{"gateway/policy/source", []string{"gateway/policy", "gateway/policy/nearest", "gateway/policy/signed", "proto/..."}, effects, "meaning has no effects"},
	{"gateway/act", []string{"proto/...", "gateway/policy/signed", "gateway/policy/jcs"}, effects, "meaning has no effects"},
	{"gateway/crossing", []string{"proto/...", "gateway/policy"}, effects, "meaning has no effects"},
	{"gateway/crossing/genai", []string{"proto/..."}, effects, "meaning has no effects"},
	{"gateway/label", nil, effects, "meaning has no effects, and whose key is good is asked of whoever has the bundles"},
	{"gateway/statement", []string{"proto/...", "gateway/crossing"}, effects, "meaning has no effects"},
	{"gateway/mux", []string{"proto/..."}, effects, "meaning has no effects"},
	{"gateway/...", []string{"gateway/...", "certs/...", "proto/..."}, []string{module + "gateway/policy/source"}, "the data plane runs without a control plane, and reads no policy sources"},
	{"controlplane/compile/rules", []string{"proto/...", "gateway/policy"}, effects, "meaning has no effects"},
	{"controlplane/compile", with(meaning, "controlplane/compile/...", "proto/..."), effects, "meaning has no effects"},
	{"controlplane/compile/...", with(meaning, "controlplane/compile/rules", "proto/..."), effects, "layers do not know one another"},
	{"controlplane/prove", with(meaning, "controlplane/compile/...", "proto/..."), effects, "meaning has no effects"},
	{"controlplane/correlate", with(meaning, "proto/..."), effects, "meaning has no effects"},
	{"controlplane/internal/witness", nil, nil, "an auditor runs it, without the mesh"},
	{"controlplane/cmd/...", with(meaning, "controlplane/...", "gateway", "certs/...", "proto/...", "deploy/..."), nil, "commands compose"},
	{"controlplane/...", with(meaning, "controlplane/...", "certs/...", "proto/..."), nil, "the planes share meaning, never machinery"},
	{"e2e/...", []string{"..."}, nil, ""},
}

// A fence keeps a third party's package where it belongs.
type fence struct {
	imported string
	allow    []string // ours, module-relative
	why      string
}

var fences = []fence{
	{"github.com/spiffe/go-spiffe/v2/workloadapi", []string{"certs/..."}, "identity comes from one place"},
	{"github.com/spiffe/go-spiffe/v2/spiffetls/...", []string{"certs/..."}, "every TLS configuration is made in certs"},
	{"github.com/quic-go/...", []string{"gateway/internal/tunnel/quictunnel", "gateway/internal/listener"}, "QUIC is a carrier"},
	{"github.com/envoyproxy/go-control-plane/pkg/...", []string{"controlplane/internal/xds"}, "xDS caches are hidden behind our own types"},
	{"github.com/envoyproxy/go-control-plane/envoy/...", []string{"controlplane/internal/xds", "gateway/internal/xdsclient"}, "Envoy's types are for the wire"},
	{"github.com/nats-io/...", []string{"controlplane/internal/store"}, "NATS is one store"},
	{"github.com/transparency-dev/tessera/...", []string{"controlplane/internal/translog", "controlplane/internal/evidence"}, "Tessera keeps the tiles of one kind of log"},
	{"modernc.org/sqlite/...", []string{"controlplane/internal/records"}, "SQLite is another"},
	{"github.com/parquet-go/...", []string{"controlplane/internal/archive"}, "Parquet is a file format"},
	{"filippo.io/age/...", []string{"gateway/policy/kept", "gateway/internal/seal", "controlplane/cmd/sallyport/sealed"}, "content is sealed in one way"},
	{"cel.dev/...", []string{"gateway/policy/source"}, "no CEL at run time"},
	{"unsafe", nil, "unsafe nowhere"},
	{"C", nil, "cgo nowhere"},
}

func match(pattern, p string) bool {
	root, tree := strings.CutSuffix(pattern, "...")
	root = strings.TrimSuffix(root, "/")
	return p == root || tree && (root == "" || strings.HasPrefix(p, root+"/"))
}

func matchAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pat string) bool { return match(pat, p) })
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		i := slices.IndexFunc(rules, func(r rule) bool { return match(r.from, p.path) })
		if i < 0 {
			t.Errorf("%s: no rule covers this package; add one", p.path)
			continue
		}
		r := rules[i]
		for _, imported := range p.imports {
			to, ours := strings.CutPrefix(imported, module)
			if ours && !matchAny(r.allow, to) || matchAny(r.deny, imported) {
				t.Errorf("%s imports %s: %s", p.path, imported, r.why)
			}
		}
	}
}

func TestFences(t *testing.T) {
	for _, p := range packages(t) {
		if match("e2e/...", p.path) {
			continue
		}
		for _, imported := range p.imports {
			for _, f := range fences {
				generated := match("proto/...", p.path) && imported == "unsafe"
				if match(f.imported, imported) && !matchAny(f.allow, p.path) && !generated {
					t.Errorf("%s imports %s: %s", p.path, imported, f.why)
				}
			}
		}
	}
}

// TestRulesBite holds the rules themselves: a forbidden import is found.
func TestRulesBite(t *testing.T) {
	for _, c := range []struct{ from, imported string }{
		{"gateway/policy", "net/http"},
		{"gateway/mux", "google.golang.org/grpc"},
		{"gateway/internal/listener", module + "controlplane/internal/api"},
		{"controlplane/internal/api", module + "gateway"},
	} {
		i := slices.IndexFunc(rules, func(r rule) bool { return match(r.from, c.from) })
		to, ours := strings.CutPrefix(c.imported, module)
		if !(ours && !matchAny(rules[i].allow, to) || matchAny(rules[i].deny, c.imported)) {
			t.Errorf("the rules let %s import %s", c.from, c.imported)
		}
	}
}
