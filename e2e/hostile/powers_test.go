package hostile

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// robbery is a mesh whose control plane was robbed of everything.
type robbery struct {
	m      *meshtest.Mesh
	board  *switchboard
	source *certs.Source  // the control plane's own
	svid   *x509svid.SVID // and its key, the only one that it has
	loot   loot           // its files, and what is in its store
	next   meshtest.Intruder
	tries  []try
	denied map[string]crossingv1.Reason // calls that the policy denies, while the thief governed
	led    map[string]string            // crossings that were led to the thief, to what is wrong with it
}

// try is what the thief was refused, and how it is to be counted.
type try struct {
	name     string
	from     meshtest.Intruder
	env      string
	listener string
	reason   crossingv1.Reason
	detail   string
}

// TestSeparatePowers steals all that the control plane has, and is the control
// plane with it. Nobody believes a policy of the thief's, nor takes it for a
// workload, a gateway or an authority of any environment.
func TestSeparatePowers(t *testing.T) {
	t.Parallel()
	board := newSwitchboard(t)
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.Bootstrap = board.lead })
	text, _, _ := strings.Cut(m.PolicyText(t), "\ntests:") // which say that the models are listed
	const closed = "\nintents:\n  - name: models-are-secret\n    deny: {from: \"*\", to: llm, paths: [/v1/models]}\n"
	if _, err := m.Apply(m.Context, []byte(meshtest.Edit(t, text, "\nintents:\n", closed))); err != nil {
		t.Fatal(err)
	}
	r := rob(t, m, board)
	t.Run("it keeps no private key", r.holdsNoKeys)
	t.Run("as somebody else", r.impersonate)
	t.Run("as a publisher", r.publish)
	t.Run("as the control plane", r.govern)
	board.turn(false)
	r.recover(t)
	for env, g := range m.Gateways {
		if serial := g.Policy().Serial; serial != 2 {
			t.Errorf("%s enforces policy %d in the end, want 2", env, serial)
		}
	}
}

// rob takes the control plane's directory, its store, and its SVID with the key, as
// whoever has its host can.
func rob(t *testing.T, m *meshtest.Mesh, board *switchboard) *robbery {
	t.Helper()
	source, err := m.Source(m.Context, "controlplane")
	if err != nil {
		t.Fatal(err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(m.Dir(), "controlplane")
	r := &robbery{m: m, board: board, source: source, svid: svid, loot: takeFiles(t, dir), denied: map[string]crossingv1.Reason{}, led: map[string]string{}}
	r.loot.takeStore(t, dir)
	return r
}

// holdsNoKeys looks for private keys, of whatever form, in all that was stolen, and
// for the very keys of everybody else.
func (r *robbery) holdsNoKeys(t *testing.T) {
	if len(r.policies(t)) != 2 {
		t.Fatalf("of %d files and messages, %d are policies: the store was not read", len(r.loot), len(r.policies(t)))
	}
	for name, content := range r.loot {
		for _, key := range privateKeys(content) {
			t.Errorf("%s has a private key: %s", name, key)
		}
	}
	for _, of := range []string{"operator", "mesh/authority", "onprem/authority", "aws/authority", "azure/authority"} {
		found := 0
		for path, content := range takeFiles(t, filepath.Join(r.m.Dir(), of)) {
			for _, secret := range secrets(t, content) {
				found++
				if len(privateKeys(content)) == 0 {
					t.Errorf("the key in %s is not found where it is", path)
				}
				for name, stolen := range r.loot {
					if has(stolen, secret) {
						t.Errorf("%s has the key of %s", name, path)
					}
				}
			}
		}
		if found == 0 {
			t.Errorf("no keys in %s: nothing was looked for", of)
		}
	}
}

// policies are those in the stolen store, in order of their serials.
func (r *robbery) policies(t *testing.T) []*policyv1.SignedPolicy {
	t.Helper()
	bySerial := map[uint64]*policyv1.SignedPolicy{}
	keys := r.m.Started(t, "onprem-1").GetPolicyKeys()
	for _, content := range r.loot {
		sp := &policyv1.SignedPolicy{}
		if proto.Unmarshal(content, sp) != nil {
			continue
		}
		if manifest, _, err := signed.Verify(sp, keys); err == nil {
			bySerial[manifest.GetSerial()] = sp
		}
	}
	var all []*policyv1.SignedPolicy
	for _, serial := range slices.Sorted(maps.Keys(bySerial)) {
		all = append(all, bySerial[serial])
	}
	return all
}

// forged is an SVID of any ID, signed with the stolen one's key.
func (r *robbery) forged(t *testing.T, id spiffeid.ID) tls.Certificate {
	t.Helper()
	own := r.svid.Certificates[0]
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: own.NotBefore, NotAfter: own.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, URIs: []*url.URL{id.URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, own, r.svid.PrivateKey.Public(), r.svid.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	shown := certs.Certificate(r.svid)
	return tls.Certificate{Certificate: append([][]byte{der}, shown.Certificate...), PrivateKey: r.svid.PrivateKey}
}

// impersonate is a workload, a gateway and an authority of each environment.
func (r *robbery) impersonate(t *testing.T) {
	own := *certs.Certificate(r.svid)
	workloads := map[string]string{"onprem": "orchestrator", "aws": "retriever", "azure": "llm"}
	peers := map[string]string{"onprem": "aws", "aws": "azure", "azure": "onprem"}
	for env, workload := range workloads {
		b := r.m.Started(t, env+"-1")
		audience := localmesh.GatewayID(env)
		r.knock(t, try{"its own SVID at attach", 0, env, "attach", foreign, "controlplane/cp-1 is not of trust domain"}, b.GetAttach(), own, "http/1.1")
		r.knock(t, try{"a workload's SVID that it made", 0, env, "attach", bad, "SVID is not trusted"}, b.GetAttach(), r.forged(t, localmesh.ID(workload)), "http/1.1")
		r.knock(t, try{"its own SVID at a tunnel", 0, env, "tunnel", crossingv1.Reason_UNKNOWN_PEER, "is no gateway of another environment"}, b.GetTunnel(), own, mux.ALPN)
		r.knock(t, try{"a gateway's SVID that it made", 0, env, "tunnel", bad, "SVID is not trusted"}, b.GetTunnel(), r.forged(t, localmesh.GatewayID(peers[env])), mux.ALPN)

		token, _, err := r.source.FetchJWTSVID(r.m.Context, audience.String())
		if err != nil {
			t.Fatal(err)
		}
		r.show(t, try{"its own JWT-SVID", 0, env, "attach", foreign, "controlplane/cp-1 is not of trust domain"}, b.GetAttachLoopback(), token)
		k := &tokens{t: t, subject: localmesh.ID(workload).String(), audience: audience.String()}
		for kid := range r.m.Authority(env).Bundle().JWTAuthorities() {
			made := jws(k.json(claims{"alg": "ES256", "kid": kid}), k.json(k.with(nil)), k.es256(r.svid.PrivateKey))
			r.show(t, try{"a workload's JWT-SVID that it made", 0, env, "attach", bad, "error in cryptographic primitive"}, b.GetAttachLoopback(), made)
		}
		made := jws(k.json(claims{"alg": "ES256", "kid": keyID(t, r.svid.PrivateKey.Public())}), k.json(k.with(nil)), k.es256(r.svid.PrivateKey))
		r.show(t, try{"a workload's JWT-SVID under a name of its own", 0, env, "attach", bad, "no JWT authority"}, b.GetAttachLoopback(), made)
	}
	for _, c := range r.tries {
		got := r.m.Refusal(t, c.from)
		f := got.GetRefusal()
		if got.GetGateway() != localmesh.GatewayID(c.env).String() || f.GetListener() != c.listener || f.GetReason() != c.reason || !strings.Contains(f.GetDetail(), c.detail) {
			t.Errorf("%s in %s was counted as %v, want %s, %q", c.name, c.env, got, c.reason, c.detail)
		}
	}
	if all := r.m.Crossings(t, &controlv1.ListCrossingsRequest{}); len(all) != 0 {
		t.Errorf("there are crossings: %v", all)
	}
}

// knock shows an SVID, asks for what the policy would allow, and is not answered
// but by a refusal.
func (r *robbery) knock(t *testing.T, c try, addr string, shown tls.Certificate, proto string) {
	t.Helper()
	r.next++
	c.from = r.next
	r.tries = append(r.tries, c)
	conn := tls.Client(c.from.Dial(t, addr), showing(shown, proto))
	io.WriteString(conn, "GET /v1/models HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\nConnection: close\r\n\r\n") // its outcome is read
	answer, _ := io.ReadAll(conn)
	if len(answer) > 0 && (c.reason != foreign || !strings.HasPrefix(string(answer), "HTTP/1.1 403 ")) {
		t.Errorf("%s in %s: answered with %q", c.name, c.env, answer)
	}
}

// show presents a token, and is refused.
func (r *robbery) show(t *testing.T, c try, addr, token string) {
	t.Helper()
	r.next++
	c.from = r.next
	r.tries = append(r.tries, c)
	if status, body := presentAt(t, c.from, addr, token); status != http.StatusUnauthorized && status != http.StatusForbidden {
		t.Errorf("%s in %s: status %d: %s", c.name, c.env, status, body)
	}
}

// publish asks the control plane itself, which has no operator's powers either.
func (r *robbery) publish(t *testing.T) {
	api := controlv1.NewPolicyServiceClient(calling(t, r.m, r.source))
	for _, sp := range r.policies(t) {
		if _, err := api.Publish(patiently(t), &controlv1.PublishRequest{Signed: sp}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("Publish() error: %v, want %s", err, codes.PermissionDenied)
		}
	}
}

// govern is the control plane: gateways come to it, and take from it what they would
// take from the true one, and nothing else.
func (r *robbery) govern(t *testing.T) {
	r.board.turn(true)
	p := newPlane(t, r.board, r.source)
	for _, env := range localmesh.Environments() {
		for _, f := range r.decrees(t) {
			refusedPolicy, refusedState := p.pushPolicy(t, env, signed.Revision(f.sp.GetPolicy()), f.sp)
			if !strings.Contains(refusedPolicy, f.says) || !strings.Contains(refusedState, "was refused") {
				t.Errorf("%s: the gateway of %s says %q, and to being told that it is in force %q, want %q", f.name, env, refusedPolicy, refusedState, f.says)
			}
		}
		if nack := p.push(t, env, resource(t, "policy", &configv1.PolicyState{Current: "sha256:" + strings.Repeat("ab", 32)})); !strings.Contains(nack, "has not come") {
			t.Errorf("the gateway of %s says of a policy that there is not: %q", env, nack)
		}
		current := r.policies(t)[1]
		for _, gone := range []*discovery.DeltaDiscoveryResponse{
			{TypeUrl: resource(t, "", current).GetTypeUrl(), RemovedResources: []string{signed.Revision(current.GetPolicy())}},
			{TypeUrl: resource(t, "", &configv1.PolicyState{}).GetTypeUrl(), RemovedResources: []string{"policy"}},
		} {
			p.push(t, env, gone)
		}
		if serial := r.m.Gateways[env+"-1"].Policy().Serial; serial != 2 {
			t.Errorf("the gateway of %s enforces policy %d, want 2", env, serial)
		}
		r.federate(t, p, env)
		r.act(t, p, env)
	}
	r.denied[r.call(t, "/v1/models", http.StatusForbidden)] = crossingv1.Reason_DENIED_BY_INTENT
	r.denied[r.call(t, "/v1/files", http.StatusForbidden)] = crossingv1.Reason_NO_INTENT
	r.divert(t, p)
}

// call asks the llm as the orchestrator.
func (r *robbery) call(t *testing.T, path string, status int) (crossing string) {
	t.Helper()
	req, err := http.NewRequestWithContext(r.m.Context, http.MethodGet, "https://llm.azure.mesh:8000"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.m.As(t, "orchestrator").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body := meshtest.ReadAll(t, resp); resp.StatusCode != status {
		t.Errorf("GET %s: status %d: %s, want %d", path, resp.StatusCode, body, status)
	}
	return resp.Header.Get("sallyport-crossing")
}

// divert says that the llm is at an address of the thief's, which a control plane may
// say: whoever is there must still be the llm.
func (r *robbery) divert(t *testing.T, p *plane) {
	for says, shown := range map[string]tls.Certificate{
		"peer is " + r.source.ID().String(): *certs.Certificate(r.svid),
		"SVID is not trusted":               r.forged(t, localmesh.ID("llm")),
	} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{shown}})
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: meshtest.Patience, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Errorf("a request came to the thief, which is %q", says)
		})}
		go srv.Serve(l)
		t.Cleanup(func() { srv.Close() })
		if nack := p.push(t, "azure", resource(t, "chat.llm.azure.mesh", assignment("chat.llm.azure.mesh", l.Addr()))); nack != "" {
			t.Fatalf("the gateway of azure says of an address: %q", nack)
		}
		resp := meshtest.Chat(r.m.Context, t, r.m.As(t, "orchestrator"), false, nil)
		if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d: %s", says, resp.StatusCode, body)
		}
		r.led[resp.Header.Get("sallyport-crossing")] = says
	}
}

// recover is what the true control plane finds when it is back: records of all that
// the thief was refused, and gateways that have believed nothing.
func (r *robbery) recover(t *testing.T) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ; <-ticker.C {
		resp := meshtest.Chat(r.m.Context, t, r.m.As(t, "orchestrator"), false, nil)
		if meshtest.ReadAll(t, resp); resp.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the gateway of azure does not find the llm again")
		}
	}
	meshtest.WantCrossing(t, r.m)
	for id, says := range r.led {
		if end := r.m.Record(t, id).GetIngress(); end.GetReason() != crossingv1.Reason_UNREACHABLE || !strings.Contains(end.GetDetail(), says) {
			t.Errorf("record of a crossing that was led to the thief: %v, want %q", end, says)
		}
	}
	for id, want := range r.denied {
		if rec := r.m.Record(t, id); rec.GetState() != crossingv1.Record_DENIED || rec.GetEgress().GetReason() != want || rec.GetEgress().GetPolicy().GetSerial() != 2 {
			t.Errorf("record of a call that the policy denies: %v, want %s", rec, want)
		}
	}
}
