//go:build linux

package spire

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/e2e/netns"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestMain(m *testing.M) { netns.Main(m) }

var (
	// sockets are those of the authorities that SPIRE stands in for.
	sockets = regexp.MustCompile(`/run/sallyport/\w+\.sock`)
	// names of trust domains are changed so that records show who vouched for them.
	names = regexp.MustCompile(`\b(mesh|onprem|aws|azure)\.example\b`)
)

// mesh is the deployment with a SPIRE in place of each authority.
type mesh struct {
	*netns.Mesh
	domains map[string]*domain // by host
}

func deploy(t *testing.T) *mesh {
	t.Helper()
	found := programsOf(t)
	netns.Require(t)
	m := &mesh{domains: map[string]*domain{}}
	m.Mesh = netns.Deploy(t, netns.Options{
		Rewrite: func(text string) string {
			return names.ReplaceAllString(sockets.ReplaceAllString(text, agentSocket), "$1.spire.test")
		},
		Start: func(n *netns.Mesh, h *netns.Host, unit string) bool {
			switch unit {
			case "sallyport-authority":
				for _, program := range found {
					n.Install(program)
				}
				m.domains[h.Name] = start(t, h)
				return true
			case "sallyport-controlplane": // the bundles have been copied by now
				m.register(t)
			}
			return false
		},
	})
	return m
}

// register makes the entries in all trust domains.
func (m *mesh) register(t *testing.T) {
	t.Helper()
	hosts := map[string]string{}
	for host, d := range m.domains {
		hosts[d.says.TrustDomain] = host
	}
	for _, d := range m.domains {
		d.register(t, hosts)
	}
}

// TestSPIRE runs the mesh on SVIDs of SPIRE and nothing else.
func TestSPIRE(t *testing.T) {
	m := deploy(t)
	t.Run("bundles are polled", m.testFederation)
	t.Run("bundles are published", m.testPublishing)
	t.Run("calls cross", m.testCalls)
	t.Run("X509-SVID for curl", m.testX509)
	t.Run("JWT-SVID as API key", m.testJWT)
	t.Run("who is not registered", m.testStrangers)
	t.Run("one SVID of several", m.testSeveral)
	t.Run("renewal under load", m.testRenewal)
	t.Run("another X.509 authority", m.testAuthority)
}

const (
	orchestrator = "spiffe://onprem.spire.test/ai/orchestrator"
	llm          = "spiffe://azure.spire.test/ai/llm"
	retriever    = "spiffe://aws.spire.test/ai/retriever"
)

// testFederation has every server ask every other for its bundle by https_spiffe.
func (m *mesh) testFederation(t *testing.T) {
	for _, d := range m.domains {
		for other := range d.says.Federated {
			d.server(t, "federation refresh -id spiffe://"+other)
		}
	}
}

func (m *mesh) testCalls(t *testing.T) {
	a, err := m.plan(t)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(a.Caller, "URI="+orchestrator) {
		t.Errorf("the callee saw %s", a.Caller)
	}
	m.crossed(t, a.Crossing, orchestrator, llm)
	m.logTrace(t, a.Crossing)

	a, err = netns.Call(t.Context(), m.As(t, "retriever"), http.MethodPost, "http://orchestrator.onprem.mesh:8000/tasks/7", nil)
	if err != nil || a.Status != http.StatusForbidden || a.Caller != "" {
		t.Errorf("no transition: answered %+v, %v", a, err)
	}
}

// plan has orchestrator call llm. An error says that it was not answered as it
// should be, and comes with what was answered, if anything was.
func (m *mesh) plan(t *testing.T) (*netns.Answer, error) {
	t.Helper()
	a, err := netns.Call(t.Context(), m.As(t, "orchestrator"), http.MethodPost, "http://llm.azure.mesh:8000/v1/chat/completions", strings.NewReader("hello"))
	if err != nil {
		return &netns.Answer{Body: err.Error()}, err
	}
	if a.Status != http.StatusOK || a.Body != "hello" {
		return a, fmt.Errorf("answered %+v", a)
	}
	return a, nil
}

// crossed holds that both gateways recorded a crossing alike, between these two.
func (m *mesh) crossed(t *testing.T, id, from, to string) *crossingv1.Record {
	t.Helper()
	r := m.Record(t, id)
	if r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() || r.GetSource() != from || r.GetDestination() != to {
		t.Errorf("the record is %s, agrees %t, from %s to %s: %v", r.GetState(), r.GetAgree(), r.GetSource(), r.GetDestination(), r)
	}
	for _, end := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
		if !strings.Contains(end.GetGateway(), ".spire.test/sallyport/gateway/") {
			t.Errorf("recorded by %s", end.GetGateway())
		}
	}
	return r
}

// logTrace tells what the operator's tool says of a crossing.
func (m *mesh) logTrace(t *testing.T, id string) {
	t.Helper()
	var trace []byte
	netns.Await(t, 30*time.Second, "a record of "+id, func() (err error) {
		trace, err = m.Sallyport(t, "trace", id)
		return err
	})
	t.Logf("$ sallyport trace %s\n%s", id, trace)
}

// curl is one of llm's, with credentials that the tool fetched for it: it gives
// the crossing of a call that was answered.
func (m *mesh) curl(t *testing.T, script string) (crossing string) {
	t.Helper()
	cmd := m.At("azure").Command(t.Context(), "llm", "sh", "-e", "-c", "export SPIFFE_ENDPOINT_SOCKET=unix://"+agentSocket+"\n"+script)
	out, err := cmd.CombinedOutput()
	found := regexp.MustCompile(`(?i)sallyport-crossing: (\S+)`).FindSubmatch(out)
	if err != nil || !strings.Contains(string(out), " 200") || found == nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(found[1])
}

// testX509 has curl show an SVID that the tool fetched, and finds that one in the
// record: SPIRE's server had signed it.
func (m *mesh) testX509(t *testing.T) {
	// --cacert: the gateway's SVID has the names of its entry.
	id := m.curl(t, `sallyport svid x509 --out /run/workloads/llm/svid
cd /run/workloads/llm/svid
curl -sS -D - --cert svid.pem --key key.pem --cacert bundle.pem --connect-to retriever.aws.mesh:8000:127.0.0.1:8443 https://retriever.aws.mesh:8000/search`)
	r := m.crossed(t, id, llm, retriever)
	chain, err := os.ReadFile(m.At("azure").Path("run/workloads/llm/svid/svid.pem"))
	if err != nil {
		t.Fatal(err)
	}
	first, _ := pem.Decode(chain)
	svid, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(m.domains["azure"].server(t, "bundle show")))
	if _, err := svid.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("not signed by SPIRE: %v", err)
	}
	if shown := r.GetEgress().GetPeer().GetSvid(); shown != certs.Fingerprint(svid) {
		t.Errorf("the record has the SVID %s, curl showed %s", shown, certs.Fingerprint(svid))
	}
}

func (m *mesh) testJWT(t *testing.T) {
	id := m.curl(t, `token=$(sallyport svid jwt --audience spiffe://azure.spire.test/sallyport/gateway/azure-1)
curl -sS -D - --oauth2-bearer "$token" http://127.0.0.1:8080/retriever.aws.mesh:8000/search`)
	m.crossed(t, id, llm, retriever)
}

// testStrangers asks for an SVID as a user without an entry, and as one who has one
// with a program that has none.
func (m *mesh) testStrangers(t *testing.T) {
	for _, user := range []string{"sallyport-authority", "orchestrator"} {
		cmd := m.At("onprem").Command(t.Context(), user, "sallyport", "svid", "jwt", "--audience", "spiffe://onprem.spire.test/sallyport/gateway/onprem-1",
			"--workload-api", "unix://"+agentSocket)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(out), "no identity issued") {
			t.Errorf("%s got: exit code %d, %v: %s", user, code, err, out)
		}
	}
}

// testSeveral has found a gateway up whose user has two SVIDs, and holds that its
// own was not the first.
func (m *mesh) testSeveral(t *testing.T) {
	out, err := m.At("azure").Command(t.Context(), "sallyport-gateway", "spire-agent", "api", "fetch", "x509", "-socketPath", agentSocket).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ids := regexp.MustCompile(`spiffe://azure\S+`).FindAllString(string(out), -1)
	if len(ids) != 2 || ids[0] != several["azure"].ID {
		t.Fatalf("SPIRE gives %q:\n%s", ids, out)
	}
	m.At("azure").Run(t, "curl -fsS http://127.0.0.1:8446/readyz")
}
