package meshtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// Stolen is an environment's trust domain in the hands of a test, "mesh" the
// control plane's: it makes SVIDs that the mesh takes for the authority's own,
// of any name and any date, and its sources know all of the mesh's bundles.
func (m *Mesh) Stolen(t testing.TB, environment string) *certstest.Domain {
	t.Helper()
	open := func(env string) *certstest.Domain {
		return certstest.Stolen(t, env+".demo", filepath.Join(m.Dir(), env, "authority"))
	}
	d := open(environment)
	for _, other := range append(localmesh.Environments(), "mesh") {
		if other != environment {
			d.Trust(open(other).Bundle())
		}
	}
	return d
}

// Started is the bootstrap file that a gateway started from.
func (m *Mesh) Started(t testing.TB, gateway string) *configv1.Bootstrap {
	t.Helper()
	text, err := os.ReadFile(m.Bootstrap(gateway))
	if err != nil {
		t.Fatal(err)
	}
	b := new(configv1.Bootstrap)
	if err := protojson.Unmarshal(text, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// Intruder is a network, 127.9.N.0/24, in which nothing of the mesh is: what is
// refused of it is counted apart from everything else.
type Intruder byte

// Prefix is how refusals name the network.
func (i Intruder) Prefix() string { return fmt.Sprintf("127.9.%d.0/24", i) }

// Dial connects from the network, for at most half a minute.
func (i Intruder) Dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := i.DialContext(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// DialContext connects from the network. All of 127.0.0.0/8 must be the
// machine's own, as on Linux.
func (i Intruder) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, byte(i), 1)}}
	return d.DialContext(ctx, "tcp", addr)
}

// Refusals are the failures before identity that the control plane knows of.
func (m *Mesh) Refusals(t testing.TB) []*controlv1.GatewayRefusal {
	t.Helper()
	ctx, cancel := context.WithTimeout(m.Context, Patience)
	defer cancel()
	stream, err := controlv1.NewCrossingServiceClient(m.API()).ListRefusals(ctx, &controlv1.ListRefusalsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return All(t, stream)
}

// Refusal waits for the count of what an intruder was refused.
func (m *Mesh) Refusal(t testing.TB, i Intruder) *controlv1.GatewayRefusal {
	t.Helper()
	var all []*controlv1.GatewayRefusal
	ticker := time.NewTicker(50 * time.Millisecond) // a gateway tells of each second when it is over
	defer ticker.Stop()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); <-ticker.C {
		all = m.Refusals(t)
		for _, r := range all {
			if r.GetRefusal().GetPrefix() == i.Prefix() {
				return r
			}
		}
	}
	t.Fatalf("nothing of %s was counted: %v", i.Prefix(), all)
	return nil
}
