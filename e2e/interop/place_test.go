//go:build linux

package interop

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

func TestMain(m *testing.M) { meshtest.Main(m) }

// farHost is an address in the network of environment aws: all places are there.
const farHost = "127.2.0.1"

// place is a destination of a test, reached in plaintext as a workload of
// environment aws that serves one thing.
type place struct {
	name, protocol string
	port           int
}

// host is what a caller calls it.
func (p place) host() string { return p.name + ".aws.mesh" }

func (p place) addr() string { return fmt.Sprintf("%s:%d", farHost, p.port) }

// meshWith starts a mesh in which the orchestrator may ask the places for
// anything.
func meshWith(t testing.TB, change func(*localmesh.Config), places ...place) *meshtest.Mesh {
	t.Helper()
	return meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy = policyWith(t, places)
		if change != nil {
			change(cfg)
		}
	})
}

func policyWith(t testing.TB, places []place) []byte {
	t.Helper()
	var workloads, intents strings.Builder
	for _, p := range places {
		fmt.Fprintf(&workloads, "  %s: {id: \"spiffe://aws.demo/test/%s\", owner: search-team, data: {class: internal}, "+
			"addresses: [%s], serves: {%s: \"%s://:%d\"}, plaintext: {acceptedBy: search-team}}\n",
			p.name, p.name, farHost, p.protocol, p.protocol, p.port)
		fmt.Fprintf(&intents, "  - name: ask-%s\n    allow: {from: orchestrator, to: %s}\n", p.name, p.name)
	}
	text := meshtest.Edit(t, string(meshtest.Plain()), "\nworkloads:\n", "\nworkloads:\n"+workloads.String())
	return []byte(meshtest.Edit(t, text, "\nintents:\n", "\nintents:\n"+intents.String()))
}

// serveAt has a server at a place until the test ends.
func serveAt(t testing.TB, name, protocol string, srv *http.Server) place {
	t.Helper()
	l, port := listen(t)
	srv.ReadHeaderTimeout = meshtest.Patience
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return place{name, protocol, port}
}

// listen takes a port of the places' host.
func listen(t testing.TB) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", farHost+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

// freePort is a port of the places' host that nobody listens on now, for
// programs that must be told one.
func freePort(t testing.TB) int {
	t.Helper()
	l, port := listen(t)
	l.Close()
	return port
}
