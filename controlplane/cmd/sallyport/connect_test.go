package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/reach"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	controlPlaneID = "spiffe://mesh.demo/sallyport/controlplane/cp-1"
	operatorID     = "spiffe://mesh.demo/sallyport/operator/local"
)

// realMesh is a control plane behind mTLS, with an authority that gives the
// operator an SVID.
type realMesh struct {
	dir, address, workloadAPI string
	// stop ends the control plane and waits until nobody listens any more.
	stop func()
}

func startRealMesh(t *testing.T) *realMesh {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp") // short: a socket's path may have 103 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &realMesh{dir: dir, workloadAPI: "unix://" + filepath.Join(dir, "op.sock")}
	runAuthority(t, dir)
	source, err := certs.NewSource(t.Context(), certs.Options{WorkloadAPI: "unix://" + filepath.Join(dir, "cp.sock"), Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = listener.Addr().String()
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(certs.ServerTLS(source, certs.AuthorizeID(spiffeid.RequireFromString(operatorID)), "h2"))))
	f := newFakeMesh(t)
	controlv1.RegisterCrossingServiceServer(server, f)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	m.stop = sync.OnceFunc(func() {
		server.Stop()
		<-done
	})
	t.Cleanup(m.stop)
	m.writeMeshFile(t, controlPlaneID)
	return m
}

// runAuthority serves the Workload API of operator and control plane until the
// test ends.
func runAuthority(t *testing.T, dir string) {
	t.Helper()
	a, err := authority.New(authority.Config{
		TrustDomain: spiffeid.RequireTrustDomainFromString("mesh.demo"),
		Dir:         filepath.Join(dir, "authority"),
		Entries: []authority.Entry{
			{ID: spiffeid.RequireFromString(operatorID), Socket: filepath.Join(dir, "op.sock")},
			{ID: spiffeid.RequireFromString(controlPlaneID), Socket: filepath.Join(dir, "cp.sock")},
		},
		Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (m *realMesh) writeMeshFile(t *testing.T, id string) {
	t.Helper()
	text, err := json.Marshal(reach.Local{API: m.address, ID: id, WorkloadAPI: m.workloadAPI})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.dir, "mesh.json"), text)
}

// invoke runs the tool as main does.
func invoke(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func TestAskALocalMesh(t *testing.T) {
	m := startRealMesh(t)
	code, stdout, stderr := invoke(t, "--dir", m.dir, "crossings", "--from", "azure", "-o", "json")
	if code != yes || stderr != "" || !strings.Contains(stdout, `"01a207e6-e4d8-7d3e-9a54-000000000003"`) {
		t.Errorf("crossings = %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestAskALocalMeshOfTheEnvironment(t *testing.T) {
	m := startRealMesh(t)
	t.Setenv("SALLYPORT_DIR", m.dir)
	if code, _, stderr := invoke(t, "transitions"); code != yes {
		t.Errorf("transitions = %d, stderr %q", code, stderr)
	}
}

func TestAskARemoteMesh(t *testing.T) {
	m := startRealMesh(t)
	t.Setenv("SALLYPORT_DIR", "/nonexistent") // --server goes before it
	remote := []string{"--server", m.address, "--workload-api", m.workloadAPI, "transitions"}
	if code, _, stderr := invoke(t, append(remote, "--server-id", controlPlaneID)...); code != yes {
		t.Errorf("transitions = %d, stderr %q", code, stderr)
	}
	code, stdout, stderr := invoke(t, append(remote, "--server-id", "spiffe://mesh.demo/sallyport/controlplane/cp-2")...)
	if code != couldNotSay || stdout != "" || !strings.Contains(stderr, "cp-") {
		t.Errorf("asking an impostor = %d, stdout %q, stderr %q; want exit 2 that names it", code, stdout, stderr)
	}
}

func TestStoppedMeshFallsBackToItsDirectory(t *testing.T) {
	m := startRealMesh(t)
	m.stop()
	code, stdout, stderr := invoke(t, "--dir", m.dir, "crossings")
	if code != couldNotSay || stdout != "" || !strings.Contains(stderr, filepath.Join(m.dir, "controlplane")) {
		t.Errorf("crossings of a directory without records = %d, %q, %q; want exit 2 that names where it looked", code, stdout, stderr)
	}
}

func TestWhichMesh(t *testing.T) {
	noMesh, broken, partial := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(broken, "mesh.json"), []byte(`{"api": "127.0.0.1:1", "port": 1}`))
	write(t, filepath.Join(partial, "mesh.json"), []byte(`{"api": "127.0.0.1:1"}`))
	t.Setenv("SALLYPORT_DIR", "")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"none", nil, "which mesh?"},
		{"no mesh in the directory", []string{"--dir", noMesh}, "holds no mesh"},
		{"mesh file not understood", []string{"--dir", broken}, `unknown field "port"`},
		{"mesh file says too little", []string{"--dir", partial}, "must be set"},
		{"server without an id", []string{"--server", "cp:1"}, "--server needs --server-id"},
		{"id without a server", []string{"--server-id", controlPlaneID, "--dir", noMesh}, "--server-id needs --server"},
		{"bad id", []string{"--server", "cp:1", "--server-id", "cp-1"}, `"cp-1"`},
		{"no Workload API", []string{"--server", "cp:1", "--server-id", controlPlaneID, "--workload-api", "nonsense"}, "Workload API"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := invoke(t, append(tt.args, "transitions")...)
			if code != couldNotSay || stdout != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, stdout %q, stderr %q; want exit 2 with %q", code, stdout, stderr, tt.want)
			}
			if strings.Count(stderr, "\n") != 1 {
				t.Errorf("stderr has more than one line: %q", stderr)
			}
		})
	}
}
