package localmesh

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// dir is a directory short enough for sockets, removed with the test.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

// errSeen ends a mesh that a test has seen enough of.
var errSeen = errors.New("seen")

// with runs a mesh for as long as f takes.
func with(t *testing.T, d string, f func(ctx context.Context, m *Mesh)) {
	t.Helper()
	err := Run(t.Context(), Config{Dir: d}, func(ctx context.Context, m *Mesh) error {
		f(ctx, m)
		return errSeen
	})
	if !errors.Is(err, errSeen) {
		t.Fatalf("Run() = %v", err)
	}
}

// models calls the llm as the orchestrator.
func models(ctx context.Context, t *testing.T, m *Mesh) {
	t.Helper()
	c, err := m.Client(ctx, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://llm.azure.mesh:8000/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d from the mesh in %s", resp.StatusCode, m.Dir())
	}
}

// call makes one call as a workload and gives its answer.
func call(ctx context.Context, t *testing.T, m *Mesh, as, method, url, body string) (int, string) {
	t.Helper()
	c, err := m.Client(ctx, as)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestEveryWorkloadIsThere: what the policy allows has somebody who answers.
func TestEveryWorkloadIsThere(t *testing.T) {
	t.Parallel()
	const mcp, registry = "https://retriever.aws.mesh:8080/mcp", "https://registry.aws.mesh:5000/v2/"
	with(t, dir(t), func(ctx context.Context, m *Mesh) {
		for _, c := range []struct {
			as, method, url, body string
			status                int
			want                  string
		}{
			{"orchestrator", "POST", mcp, `{"jsonrpc":"2.0","id":1,"method":"initialize"}`, 200, `"protocolVersion":"` + mcpVersion},
			{"orchestrator", "POST", mcp, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 202, ""},
			{"orchestrator", "POST", mcp, `{"jsonrpc":"2.0","id":"a","method":"ping"}`, 200, `"id":"a"`},
			{"orchestrator", "POST", mcp, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`, 200, `"name":"search"`},
			{"orchestrator", "POST", mcp, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"search","arguments":{"query":"outage review"}}}`, 200, "Minutes of the review"},
			{"orchestrator", "POST", mcp, `{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"fetch_document","arguments":{"number":"2"}}}`, 200, "Minutes of the review"},
			{"orchestrator", "POST", mcp, `{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"fetch_document","arguments":{"number":"4"}}}`, 200, "\"isError\":true"},
			{"orchestrator", "POST", mcp, `{"jsonrpc":"2.0","id":5,"method":"logging/setLevel"}`, 200, "no intent allows it"},
			{"llm", "GET", registry, "", 200, "{}"},
			{"llm", "GET", registry + artefact + "/manifests/" + artefactTag, "", 200, digest(weights)},
			{"llm", "GET", registry + artefact + "/blobs/" + digest(weights), "", 200, weights},
			{"llm", "HEAD", registry + artefact + "/blobs/" + digest(weights), "", 200, ""},
			{"llm", "GET", registry + "nothing/manifests/here", "", 404, "NAME_UNKNOWN"},
		} {
			if status, text := call(ctx, t, m, c.as, c.method, c.url, c.body); status != c.status || !strings.Contains(text, c.want) {
				t.Errorf("%s %s %s = %d %q, want %d with %q", c.method, c.url, c.body, status, text, c.status, c.want)
			}
		}
	})
}

// TestRestart stops a mesh and goes on in its directory.
func TestRestart(t *testing.T) {
	t.Parallel()
	d := dir(t)
	var before, after struct {
		policy, api string
		gateway     configv1.Bootstrap
		roots       []byte
	}
	with(t, d, func(ctx context.Context, m *Mesh) {
		if m.Published.GetSerial() != 1 || len(m.Published.GetInForce()) != 3 {
			t.Errorf("the first start published %v", m.Published)
		}
		models(ctx, t, m)
		before.policy, before.api, before.roots = policyOf(ctx, t, m), m.plane, m.CABundle("azure")
		bootstrapOf(t, m, &before.gateway)
	})
	with(t, d, func(ctx context.Context, m *Mesh) {
		if m.Published != nil {
			t.Errorf("the second start published %v", m.Published)
		}
		models(ctx, t, m)
		after.policy, after.api, after.roots = policyOf(ctx, t, m), m.plane, m.CABundle("azure")
		bootstrapOf(t, m, &after.gateway)
	})
	for _, c := range []struct{ what, before, after string }{
		{"policy", before.policy, after.policy},
		{"control plane's address", before.api, after.api},
		{"attach address", before.gateway.GetAttach(), after.gateway.GetAttach()},
		{"loopback address", before.gateway.GetAttachLoopback(), after.gateway.GetAttachLoopback()},
		{"tunnel address", before.gateway.GetTunnel(), after.gateway.GetTunnel()},
		{"root certificates", string(before.roots), string(after.roots)},
	} {
		if c.before != c.after || c.before == "" {
			t.Errorf("%s is %q after a restart, was %q", c.what, c.after, c.before)
		}
	}
}

func policyOf(ctx context.Context, t *testing.T, m *Mesh) string {
	t.Helper()
	signed, err := m.Reload(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed.GetManifest())
}

func bootstrapOf(t *testing.T, m *Mesh, b *configv1.Bootstrap) {
	t.Helper()
	if there, err := readJSON(m.Bootstrap("onprem-1"), b); err != nil || !there {
		t.Fatalf("bootstrap file: %t, %v", there, err)
	}
}

// TestTwoMeshes runs two meshes at once, and shows that neither trusts the
// other although all names are the same.
func TestTwoMeshes(t *testing.T) {
	t.Parallel()
	with(t, dir(t), func(ctx context.Context, one *Mesh) {
		with(t, dir(t), func(ctx2 context.Context, two *Mesh) {
			models(ctx, t, one)
			models(ctx2, t, two)
			c, err := one.Client(ctx, "orchestrator")
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseIdleConnections()
			c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, two.Gateways["onprem-1"].AttachAddr().String())
			}
			resp, err := c.Get("https://llm.azure.mesh:8000/v1/models")
			if err == nil {
				resp.Body.Close()
				t.Errorf("one mesh's workload reached the other's gateway: %s", resp.Status)
			}
		})
		models(ctx, t, one)
	})
}

// TestSecondInOneDirectory shows that a mesh does not start on top of another,
// and does not break it by trying.
func TestSecondInOneDirectory(t *testing.T) {
	t.Parallel()
	d := dir(t)
	with(t, d, func(ctx context.Context, m *Mesh) {
		err := Run(ctx, Config{Dir: d}, func(context.Context, *Mesh) error { return errSeen })
		if !errors.Is(err, ErrRunning) {
			t.Errorf("a second mesh in the same directory: %v, want %v", err, ErrRunning)
		}
		models(ctx, t, m)
	})
}

// TestLogs shows that no part is named twice in the log, and that a store which
// was killed mends itself without alarming anybody.
func TestLogs(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	d := dir(t)
	for range 2 {
		err := Run(t.Context(), Config{Dir: d, Log: zap.New(core)}, func(context.Context, *Mesh) error { return errSeen })
		if !errors.Is(err, errSeen) {
			t.Fatal(err)
		}
		// As a kill leaves it: JetStream's index is of before.
		states, err := filepath.Glob(filepath.Join(d, "controlplane", "jetstream", "*", "streams", "*", "msgs", "index.db"))
		if err != nil || len(states) == 0 {
			t.Fatalf("no index of a stream: %v", err)
		}
		for _, path := range states {
			if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, e := range logs.All() {
		parts := strings.Split(e.LoggerName, ".")
		if slices.Sort(parts); len(slices.Compact(slices.Clone(parts))) != len(parts) {
			t.Errorf("%q is logged by %q", e.Message, e.LoggerName)
		}
		if e.Level > zap.InfoLevel && strings.Contains(e.LoggerName, "nats") {
			t.Errorf("%s of %s: %s", e.Level, e.LoggerName, e.Message)
		}
	}
}

var errBroken = errors.New("the part broke")

// TestPartFails shows that a part which fails takes the mesh down, with its
// error.
func TestPartFails(t *testing.T) {
	t.Parallel()
	err := Run(t.Context(), Config{Dir: dir(t)}, func(_ context.Context, m *Mesh) error {
		m.carrying.run(m.fail, func(context.Context) error { return errBroken })
		return nil
	})
	if !errors.Is(err, errBroken) {
		t.Errorf("Run() = %v, want %v", err, errBroken)
	}
}

// TestGatewayFails shows that a gateway which cannot start is named.
func TestGatewayFails(t *testing.T) {
	t.Parallel()
	d := dir(t)
	var b configv1.Bootstrap
	with(t, d, func(_ context.Context, m *Mesh) { bootstrapOf(t, m, &b) })
	l, err := net.Listen("tcp", b.GetAttach())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = Run(t.Context(), Config{Dir: d}, func(context.Context, *Mesh) error { return errSeen })
	if err == nil || !strings.Contains(err.Error(), "gateway onprem-1") || !strings.Contains(err.Error(), b.GetAttach()) ||
		!strings.Contains(err.Error(), "or start a new mesh with another --dir") {
		t.Errorf("Run() = %v, want an error that names the gateway, %s and what to do", err, b.GetAttach())
	}
}

// TestTakenMeanwhile shows that a part which comes second to its addresses is
// started at others, and that any other failure is told at once.
func TestTakenMeanwhile(t *testing.T) {
	t.Parallel()
	m := &Mesh{given: map[string]bool{}}
	var tried []string
	err := m.atFreeAddresses(2, func(at []string) error {
		tried = append(tried, at...)
		if len(tried) > 4 {
			return errBroken
		}
		l, err := net.Listen("tcp", at[1])
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, err = net.Listen("tcp", at[1])
		return err
	})
	if !errors.Is(err, errBroken) {
		t.Errorf("atFreeAddresses() = %v, want %v", err, errBroken)
	}
	if sort.Strings(tried); len(tried) != 6 || len(slices.Compact(tried)) != 6 {
		t.Errorf("tried %v, want three times two others", tried)
	}
}

// TestEnds shows that a mesh whose context ends is no failure, even if that is
// before it is up.
func TestEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, Config{Dir: dir(t)}, func(context.Context, *Mesh) error {
		cancel()
		return nil
	})
	if err != nil {
		t.Errorf("Run() = %v after its context ended", err)
	}
	if err := Run(ctx, Config{Dir: dir(t)}, func(context.Context, *Mesh) error { return nil }); err != nil {
		t.Errorf("Run() = %v with a context that had ended", err)
	}
}

// TestLongDirectory shows that a directory whose sockets nobody could bind is
// refused with what to do about it, and left as it was.
func TestLongDirectory(t *testing.T) {
	t.Parallel()
	d := filepath.Join(dir(t), strings.Repeat("long", 25))
	err := Run(t.Context(), Config{Dir: d}, func(context.Context, *Mesh) error { return errSeen })
	if err == nil || !strings.Contains(err.Error(), "use a directory with a shorter name") || !strings.Contains(err.Error(), d) {
		t.Errorf("Run() = %v, want an error that says what to do", err)
	}
	if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made all the same: %v", err)
	}
}
