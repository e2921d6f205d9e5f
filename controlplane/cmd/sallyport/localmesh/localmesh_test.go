package localmesh

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

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

// TestRestart stops a mesh and goes on in its directory.
func TestRestart(t *testing.T) {
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
		before.policy, before.api, before.roots = policyOf(ctx, t, m), m.plane.Addr().String(), m.CABundle("azure")
		bootstrapOf(t, m, &before.gateway)
	})
	with(t, d, func(ctx context.Context, m *Mesh) {
		if m.Published != nil {
			t.Errorf("the second start published %v", m.Published)
		}
		models(ctx, t, m)
		after.policy, after.api, after.roots = policyOf(ctx, t, m), m.plane.Addr().String(), m.CABundle("azure")
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
	d := dir(t)
	with(t, d, func(ctx context.Context, m *Mesh) {
		err := Run(ctx, Config{Dir: d}, func(context.Context, *Mesh) error { return errSeen })
		if err == nil || errors.Is(err, errSeen) {
			t.Errorf("a second mesh in the same directory: %v", err)
		}
		t.Logf("said: %v", err)
		models(ctx, t, m)
	})
}

var errBroken = errors.New("the part broke")

// TestPartFails shows that a part which fails takes the mesh down, with its
// error.
func TestPartFails(t *testing.T) {
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
	d := dir(t)
	var b configv1.Bootstrap
	with(t, d, func(_ context.Context, m *Mesh) { bootstrapOf(t, m, &b) })
	l, err := net.Listen("tcp", b.GetAttach())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = Run(t.Context(), Config{Dir: d}, func(context.Context, *Mesh) error { return errSeen })
	if err == nil || !strings.Contains(err.Error(), "gateway onprem-1") || !strings.Contains(err.Error(), b.GetAttach()) {
		t.Errorf("Run() = %v, want an error that names the gateway and %s", err, b.GetAttach())
	}
}

// TestTakenMeanwhile shows that a part which comes second to its addresses is
// started at others, and that any other failure is told at once.
func TestTakenMeanwhile(t *testing.T) {
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
	d := filepath.Join(dir(t), strings.Repeat("long", 25))
	err := Run(t.Context(), Config{Dir: d}, func(context.Context, *Mesh) error { return errSeen })
	if err == nil || !strings.Contains(err.Error(), "use a directory with a shorter name") || !strings.Contains(err.Error(), d) {
		t.Errorf("Run() = %v, want an error that says what to do", err)
	}
	if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made all the same: %v", err)
	}
}
