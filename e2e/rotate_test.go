package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/authority/issued"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// rotated is how long SVIDs last in these tests; they are renewed at half.
	rotated = 20 * time.Second
	// rotatedTwice is how long it takes until all have been renewed twice: certificates
	// know no other clock.
	rotatedTwice = 5 * rotated / 4
	// shownTwice is how long it takes at most until crossings have shown that. A connection
	// that was made just before a renewal shows what it was made with until that ends, after
	// one and a half lives. If SVIDs were renewed only when they end, it would take two.
	shownTwice = 7 * rotated / 4
	// rotatedStream is how long a stream goes on: it is sure of a fifth of half an SVID's
	// life, less what an answer took that began before, and a busy machine may need that.
	rotatedStream = 250 * time.Millisecond
	// enoughCalls is how many a rotation has to be seen by, however long that takes.
	enoughCalls = 1000
)

// TestRotate replaces everything that an identity rests on, while all kinds of
// calls go on: SVIDs of seconds, the intermediates that sign them, and the roots of
// every trust domain. No call fails; the records and the issuing logs show that
// what was replaced is another. How often that is in a given time, a busy machine changes:
// nothing runs beside it.
func TestRotate(t *testing.T) {
	meshtest.Long(t)
	t.Run("leaf", rotateLeaf) // also beside restarts, in TestDrain
	t.Run("intermediate", rotateIntermediate)
	t.Run("root", rotateRoot)
}

func rotateLeaf(t *testing.T) {
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.X509TTL = rotated })
	l := startLoad(t, m, rotatedStream)
	phase, began := l.phase("leaf"), time.Now()
	<-time.After(rotatedTwice)
	phase.await(t, max(100, enoughCalls-phase.count()))
	l.awaitShown(t, began.Add(shownTwice), func(s shown) int { return len(s.svids) })
	l.stop(t)
	phase.judge(t, enoughCalls)
	l.awaitRecords(t, m)
	seen := l.shown(t)
	for _, name := range []string{"orchestrator", "llm"} {
		if n := len(seen[localmesh.ID(name)].svids); n < 3 {
			t.Errorf("%s was seen with %d X509-SVIDs, want 3 that followed one another", name, n)
		}
	}
}

func rotateIntermediate(t *testing.T) {
	const times = 4
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.X509TTL, cfg.IntermediateLife = rotated, 2*rotated
	})
	l := startLoad(t, m, rotatedStream)
	phase, began := l.phase("intermediate"), time.Now()
	awaitIntermediates(t, m, times)
	<-time.After(time.Until(began.Add(rotatedTwice)))
	phase.await(t, max(100, enoughCalls-phase.count()))
	l.awaitShown(t, began.Add(shownTwice), func(s shown) int { return len(s.by) })
	l.stop(t)
	phase.judge(t, enoughCalls)
	l.awaitRecords(t, m)
	seen := l.shown(t)
	for _, name := range []string{"orchestrator", "llm"} {
		if n := len(seen[localmesh.ID(name)].by); n < 3 { // SVIDs were renewed twice
			t.Errorf("%s was seen with SVIDs of %d intermediates, want 3", name, n)
		}
	}
}

// awaitShown waits until both ends of crossings were seen with three of what is counted, or
// until that time: who called it says then what is missing.
func (l *load) awaitShown(t *testing.T, until time.Time, count func(shown) int) {
	t.Helper()
	for time.Now().Before(until) {
		seen := l.shown(t)
		if count(seen[localmesh.ID("orchestrator")]) >= 3 && count(seen[localmesh.ID("llm")]) >= 3 {
			return
		}
		<-time.After(time.Second)
	}
}

// awaitIntermediates waits until every authority has renewed its intermediate so
// many times.
func awaitIntermediates(t *testing.T, m *meshtest.Mesh, times int) {
	t.Helper()
	seen := map[string]map[string]bool{} // by trust domain
	for _, env := range trustDomains() {
		seen[env] = map[string]bool{}
	}
	least := func() int {
		n := times + 1
		for env, digests := range seen {
			digests[m.Authority(env).Roots()[0].Intermediate.SHA256] = true
			n = min(n, len(digests))
		}
		return n
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	each := rotated / 4 // half of a life of twice that, which is backdated by half a minute
	for deadline := time.Now().Add(time.Duration(times)*each + meshtest.Patience); least() <= times; <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("intermediates were not renewed %d times: %v", times, seen)
		}
	}
}

// rotateRoot gives every trust domain of the mesh, the control plane's among them, a
// new root: prepared, activated, and the old one retired.
func rotateRoot(t *testing.T) {
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.X509TTL = rotated })
	for _, env := range trustDomains() {
		awaitHeld(t, m, env)
	}
	l := startLoad(t, m, rotatedStream)
	prepared := l.phase("root, prepared")
	each(t, m, "prepare", func(env string) error { return m.Authority(env).PrepareRoot() })
	prepared.await(t, 100)
	activated := l.phase("root, activated")
	each(t, m, "activate", func(env string) error { return m.Authority(env).ActivateRoot() })
	// Whatever was made under the old root ends with the SVIDs that it was made with.
	<-time.After(rotated + time.Second)
	activated.await(t, 100)
	retired := l.phase("root, retired")
	each(t, m, "retire", func(env string) error { return m.Authority(env).RetireRoot() })
	retired.await(t, 300)
	l.stop(t)
	for _, phase := range []*tally{prepared, activated, retired} {
		phase.judge(t, 100)
	}
	l.awaitRecords(t, m)
	wantNewRoots(t, m, l.shown(t))
	tool(t, m, "log", "verify") // what was signed under the roots that are gone is proven still
}

// wantNewRoots holds that everybody has had SVIDs under two roots, and holds one.
func wantNewRoots(t *testing.T, m *meshtest.Mesh, seen map[spiffeid.ID]shown) {
	t.Helper()
	for _, env := range trustDomains() {
		for who, b := range held(t, m, env) {
			if b.GetAuthorities() != 1 || b.GetOrigin() != "statement" {
				t.Errorf("%s holds of %s: %v", who, env, b)
			}
		}
	}
	for _, name := range []string{"orchestrator", "llm"} {
		if n := len(seen[localmesh.ID(name)].roots); n != 2 {
			t.Errorf("%s was seen with SVIDs under %d roots, want 2", name, n)
		}
	}
	if n := len(seen[localmesh.ID("orchestrator")].keys); n != 2 {
		t.Errorf("JWT-SVIDs of %d keys were seen, want 2", n)
	}
	for _, name := range []string{"controlplane", "onprem-1", "aws-1", "azure-1"} {
		roots := map[uint64]bool{}
		for _, e := range issuedBy(t, m, localmesh.ID(name).TrustDomain()) {
			if e.ID == localmesh.ID(name).String() {
				roots[e.Root] = true
			}
		}
		if len(roots) != 2 {
			t.Errorf("%s has had SVIDs under the roots %v, want 2", name, roots)
		}
	}
}

// shown is what one was seen with in records: X509-SVIDs, what had signed them, the
// numbers of their roots, and keys of JWT-SVIDs.
type shown struct {
	svids, by, keys map[string]bool
	roots           map[uint64]bool
}

// shown looks up in the issuing logs what the records say that both ends of a
// crossing have shown. What is in no log is an error.
func (l *load) shown(t *testing.T) map[spiffeid.ID]shown {
	t.Helper()
	records := l.m.Crossings(t, &controlv1.ListCrossingsRequest{}) // before the logs, which have what these show
	logs := map[string]issued.Entry{}
	seen := map[spiffeid.ID]shown{}
	for _, name := range []string{"orchestrator", "llm"} {
		id := localmesh.ID(name)
		seen[id] = shown{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[uint64]bool{}}
		for _, e := range issuedBy(t, l.m, id.TrustDomain()) {
			logs[e.Digest] = e
		}
	}
	note := func(id, fingerprint string) {
		e, ok := logs[fingerprint]
		if !ok || e.ID != id {
			t.Errorf("%s was seen with %s, which was issued to %q", id, fingerprint, e.ID)
			return
		}
		s := seen[spiffeid.RequireFromString(id)]
		if e.Kind == issued.JWT {
			s.keys[e.By] = true
			return
		}
		s.svids[fingerprint], s.by[e.By], s.roots[e.Root] = true, true, true
	}
	for _, r := range records {
		if meshtest.Whole(r) {
			note(r.GetSource(), r.GetEgress().GetPeer().GetSvid())
			note(r.GetDestination(), r.GetIngress().GetPeer().GetSvid())
		}
	}
	return seen
}

// issuedBy is the issuing log of a trust domain.
func issuedBy(t *testing.T, m *meshtest.Mesh, td spiffeid.TrustDomain) (all []issued.Entry) {
	t.Helper()
	env := td.Name()[:len(td.Name())-len(".demo")]
	err := issued.Read(filepath.Join(m.Dir(), env, "authority"), func(e *issued.Entry) error {
		all = append(all, *e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
