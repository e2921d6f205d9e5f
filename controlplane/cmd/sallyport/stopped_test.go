package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/controlplane"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/policykey"
)

// startControlPlane runs a real control plane over DIR/controlplane, with the
// operator's key in DIR/operator. stop ends it.
func startControlPlane(t *testing.T) (dir string, stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp") // short: a socket's path may have 103 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	runAuthority(t, dir)
	_, keys, err := policykey.Generate(filepath.Join(dir, "operator"), "")
	if err != nil {
		t.Fatal(err)
	}
	cp, err := controlplane.New(t.Context(), controlplane.Config{
		Listen: "127.0.0.1:0", Dir: filepath.Join(dir, "controlplane"), WorkloadAPI: "unix://" + filepath.Join(dir, "cp.sock"),
		PolicyKeys: keys, Operators: []spiffeid.ID{spiffeid.RequireFromString(operatorID)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cp.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	m := &realMesh{dir: dir, address: cp.Addr().String(), workloadAPI: "unix://" + filepath.Join(dir, "op.sock")}
	m.writeMeshFile(t, controlPlaneID)
	return dir, stop
}

// What an operator did to a running mesh is read from its directory once it is
// stopped, and can then no longer be changed.
func TestAStoppedMeshIsReadFromItsDirectory(t *testing.T) {
	dir, stop := startControlPlane(t)
	enter(t, "testdata/sessions/policy")
	t.Setenv("SALLYPORT_DIR", dir)

	code, stdout, stderr := invoke(t, "policy", "apply", "policy.yaml")
	if code != yes || !strings.Contains(stdout, "serial 1 published; no gateway is there yet") || strings.Contains(stderr, "behind") {
		t.Fatalf("the first apply, without a gateway = %d, %q, %q; want exit 0 that says what comes next", code, stdout, stderr)
	}
	code, stdout, stderr = invoke(t, "policy", "apply", "next.yaml")
	if code != couldNotSay || !strings.Contains(stdout, "serial 2 in force at 0 of 2 gateways") || !strings.Contains(stderr, "behind: azure-1, onprem-1") {
		t.Fatalf("the next apply, without a gateway = %d, %q, %q; want exit 2 that names who is behind", code, stdout, stderr)
	}
	reads := []string{"policy show -o yaml", "workloads list", "workloads bindings -o json", "transitions -o json", "policy explain orchestrator llm chat -o json"}
	running := map[string]string{}
	for _, args := range reads {
		code, stdout, stderr := invoke(t, strings.Fields(args)...)
		if stdout == "" || stderr != "" || code == couldNotSay {
			t.Errorf("running: sallyport %s = %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
		running[args] = stdout
	}
	stop()
	for _, args := range reads {
		code, stdout, stderr := invoke(t, strings.Fields(args)...)
		if stdout != running[args] || code == couldNotSay {
			t.Errorf("stopped: sallyport %s = %d, %q, want what the running mesh said: %q", args, code, stdout, running[args])
		}
		if !strings.Contains(stderr, "is stopped; this is from its directory") {
			t.Errorf("stopped: sallyport %s did not say where it is from: %q", args, stderr)
		}
	}
	for _, args := range []string{"policy apply next.yaml", "workloads register llm --endpoint chat=10.2.3.9:1", "gateways add azure-1 -o -", "crossings --follow"} {
		code, stdout, stderr := invoke(t, strings.Fields(args)...)
		if code != couldNotSay || stdout != "" || !strings.Contains(stderr, "stopped") {
			t.Errorf("stopped: sallyport %s = %d, %q, %q; want exit 2 that says so", args, code, stdout, stderr)
		}
	}
}
