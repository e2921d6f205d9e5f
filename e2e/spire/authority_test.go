//go:build linux

package spire

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/netns"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// publisher publishes the bundles of issuers that are no authorities of ours.
const publisher = "/usr/local/bin/sallyport-controlplane"

// bundles is the configuration with which it does, of a trust domain on a host.
const bundles = `workloadApi: unix://` + agentSocket + `
issuer:
  trustDomain: %[1]s
  endpoint: {url: "https://%[2]s.sallyport.example:8543/", profile: https_spiffe, id: spiffe://%[1]s/spire/server}
controlPlane: {address: "control.sallyport.example:8444", id: spiffe://mesh.spire.test/sallyport/controlplane/control}
`

// environments are the hosts whose trust domains have gateways.
var environments = []string{"onprem", "aws", "azure"}

// testPublishing publishes the bundle of each environment's SPIRE over the control
// plane, signed by a workload of its own, and waits until all other gateways have
// it from there.
func (m *mesh) testPublishing(t *testing.T) {
	for _, name := range environments {
		d := m.domains[name]
		if err := os.WriteFile(d.Path("etc/sallyport/bundles.yaml"), fmt.Appendf(nil, bundles, d.says.TrustDomain, name), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Start(d.t, "sallyport-bundles", "root", "sallyport-controlplane", "bundles", "--config", "/etc/sallyport/bundles.yaml")
	}
	netns.Await(t, time.Minute, "all bundles to be those that were published", func() error {
		all, err := m.Gateways(t)
		if err != nil {
			return err
		}
		for _, g := range all {
			if n := published(g); n != len(environments)-1 {
				return fmt.Errorf("%s has %d: %v", g.GetName(), n, g.GetReport().GetBundles())
			}
		}
		return nil
	})
}

// published is how many bundles a gateway has that their issuers have signed.
func published(g *controlv1.GatewayStatus) (n int) {
	for _, b := range g.GetReport().GetBundles() {
		if b.GetOrigin() == "statement" && b.GetRefused() == "" {
			n++
		}
	}
	return n
}

// authorityID is what spire-server calls an authority.
var authorityID = regexp.MustCompile(`Authority ID: (\S+)`)

// testAuthority has onprem issue from another X.509 authority before its peers'
// servers have polled for it, which SPIRE does every 75 seconds by default. No call
// fails: gateways learn of it by what is published, before the first SVID under it is
// shown.
func (m *mesh) testAuthority(t *testing.T) {
	onprem := m.domains["onprem"]
	found := authorityID.FindStringSubmatch(onprem.server(t, "localauthority x509 prepare"))
	if found == nil {
		t.Fatal("SPIRE names no authority that it prepared")
	}
	before := m.renewals(t)["onprem"]
	onprem.server(t, "localauthority x509 activate -authorityID "+found[1])
	after, failed := m.firstFailure(t, 2*lifetime)
	if failed != nil {
		t.Errorf("the first call failed after %s: %d %s", after.Round(time.Second), failed.Status, failed.Body)
		if failed.Crossing != "" {
			m.logTrace(t, failed.Crossing)
		}
	}
	if n := m.renewals(t)["onprem"]; n == before {
		t.Error("the gateway has got no SVID under the new authority")
	}
	a, err := m.plan(t)
	if err != nil {
		t.Fatal(err)
	}
	m.crossed(t, a.Crossing, orchestrator, llm)
}

// firstFailure is when a call was not answered with 200, and how it was; nil if
// none was for that long.
func (m *mesh) firstFailure(t *testing.T, within time.Duration) (after time.Duration, failed *netns.Answer) {
	t.Helper()
	begin := time.Now()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for time.Since(begin) < within {
		if a, err := m.plan(t); err != nil && a.Status != http.StatusOK {
			return time.Since(begin), a
		}
		<-ticker.C
	}
	return within, nil
}
