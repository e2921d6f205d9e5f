//go:build linux

package spire

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/netns"
)

// authorityID is what spire-server calls an authority.
var authorityID = regexp.MustCompile(`Authority ID: (\S+)`)

// testAuthority has onprem issue from another X.509 authority before its peers
// have polled for it, which SPIRE does every 75 seconds by default. It tells what
// becomes of calls, and holds that they cross again soon after the peers' servers
// have the bundle: no program of ours is restarted.
func (m *mesh) testAuthority(t *testing.T) {
	onprem := m.domains["onprem"]
	found := authorityID.FindStringSubmatch(onprem.server(t, "localauthority x509 prepare"))
	if found == nil {
		t.Fatal("SPIRE names no authority that it prepared")
	}
	onprem.server(t, "localauthority x509 activate -authorityID "+found[1])
	after, failed := m.firstFailure(t, 2*lifetime)
	if failed == nil {
		t.Logf("peers without the new authority: no call failed within %s", after)
	} else {
		t.Logf("peers without the new authority: the first call failed after %s: %d %s", after.Round(time.Second), failed.Status, failed.Body)
	}
	m.carryBundle(t, onprem)
	var a *netns.Answer
	took := netns.Await(t, time.Minute, "calls to cross again", func() (err error) {
		a, err = m.plan(t)
		return err
	})
	t.Logf("peers with the new authority: calls cross again after %s", took.Round(100*time.Millisecond))
	m.crossed(t, a.Crossing, orchestrator, llm)
	if failed != nil && failed.Crossing != "" {
		m.logTrace(t, failed.Crossing)
	}
}

// carryBundle gives a trust domain's bundle to all others by hand. Their own polls
// would do it too, for as long as the endpoint shows an SVID of the authority before:
// a server's own lasts for an hour by default.
func (m *mesh) carryBundle(t *testing.T, of *domain) {
	t.Helper()
	of.server(t, "bundle show -format spiffe > /var/lib/sallyport/authority/bundle.json")
	for _, d := range m.domains {
		if d == of {
			continue
		}
		file := d.says.Federated[of.says.TrustDomain]
		d.Run(t, "scp "+of.Name+":/var/lib/sallyport/authority/bundle.json "+file)
		d.server(t, "bundle set -format spiffe -id spiffe://"+of.says.TrustDomain+" -path "+file)
	}
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
