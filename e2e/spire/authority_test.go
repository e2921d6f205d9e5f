//go:build linux

package spire

import (
	"regexp"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/netns"
)

// authorityID is what spire-server calls an authority.
var authorityID = regexp.MustCompile(`Authority ID: (\S+)`)

// testAuthority has onprem issue from another X.509 authority before its peers
// have polled for it, which SPIRE does every five minutes by default. It tells what
// becomes of calls, and holds that the mesh is whole again as soon as the peers'
// servers have the bundle: no program of ours is restarted.
func (m *mesh) testAuthority(t *testing.T) {
	onprem := m.domains["onprem"]
	found := authorityID.FindStringSubmatch(onprem.server("localauthority x509 prepare"))
	if found == nil {
		t.Fatal("SPIRE names no authority that it prepared")
	}
	onprem.server("localauthority x509 activate -authorityID " + found[1])
	if after, why := m.firstFailure(t, 2*lifetime); why != nil {
		t.Logf("peers without the new authority: the first call failed after %s: %d %s", after.Round(time.Second), why.Status, why.Body)
	} else {
		t.Logf("peers without the new authority: no call failed within %s", after)
	}
	// SPIRE's own way back cannot be taken: its endpoint shows an SVID of the new authority.
	onprem.server("bundle show -format spiffe > /var/lib/sallyport/authority/bundle.json")
	for host, d := range m.domains {
		if host == "onprem" {
			continue
		}
		file := d.says.Federated[onprem.says.TrustDomain]
		d.Run(t, "scp onprem:/var/lib/sallyport/authority/bundle.json "+file)
		d.server("bundle set -format spiffe -id spiffe://" + onprem.says.TrustDomain + " -path " + file)
	}
	took := netns.Await(t, time.Minute, "calls to cross again", func() error {
		_, err := m.plan(t)
		return err
	})
	t.Logf("peers with the new authority: calls cross again after %s", took.Round(100*time.Millisecond))
}

// firstFailure is when a call failed, and how; nil if none did for that long.
func (m *mesh) firstFailure(t *testing.T, within time.Duration) (after time.Duration, why *netns.Answer) {
	t.Helper()
	begin := time.Now()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for time.Since(begin) < within {
		if a, err := m.plan(t); err != nil {
			return time.Since(begin), a
		}
		<-ticker.C
	}
	return within, nil
}
