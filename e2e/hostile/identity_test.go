package hostile

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	bad     = crossingv1.Reason_BAD_IDENTITY
	expired = crossingv1.Reason_EXPIRED_IDENTITY
	foreign = crossingv1.Reason_FOREIGN_IDENTITY
)

// badSVID is an X509-SVID that nobody may take, though the key that its trust
// domain's SVIDs are signed with has signed it, unless it says otherwise.
type badSVID struct {
	name   string
	shown  forger
	reason crossingv1.Reason
	detail string // stands in what is recorded
}

// badSVIDs are all of them. Keys are made once: they take time.
func badSVIDs(t *testing.T) []badSVID {
	strong, weak, odd := ecKey(t, elliptic.P256()), rsaKey(t, 1024), ecKey(t, elliptic.P224())
	own := func(*x509.Certificate) {}
	return []badSVID{
		// Whose it is.
		{"ID of another trust domain", called("spiffe://aws.demo/ai/retriever"), bad, "unknown authority"},
		{"ID of a trust domain that nobody knows", called("spiffe://nowhere.demo/ai/agent"), bad, "no X.509 bundle"},
		{"another's root", stranger509("spiffe://root.demo"), bad, "unknown authority"},
		{"another's root, whose name is not to be printed", stranger509("\x1b[2J\r\n\u202e" + strings.Repeat("x", 4096)), bad, "unknown authority"},
		{"signed by a workload", byWorkload, bad, "parent certificate cannot sign"},
		{"another's, without its key", forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) { f.Public = strong.Public() }), bad, "invalid signature"},

		// What it names.
		{"two IDs", withURIs(func(id string) []string { return []string{id, id + "2"} }), bad, "more than one URI SAN"},
		{"the ID twice", withURIs(func(id string) []string { return []string{id, id} }), bad, "more than one URI SAN"},
		{"an ID and a URL", withURIs(func(id string) []string { return []string{id, "https://onprem.demo/"} }), bad, "more than one URI SAN"},
		{"no URI", template509(func(c *x509.Certificate) { c.URIs = nil }), bad, "no URI SAN"},
		{"the ID as host name alone", template509(func(c *x509.Certificate) { c.DNSNames, c.URIs = []string{c.URIs[0].String()}, nil }), bad, "no URI SAN"},
		{"the ID as common name alone", template509(func(c *x509.Certificate) { c.Subject.CommonName, c.URIs = c.URIs[0].String(), nil }), bad, "no URI SAN"},
		{"another scheme", named(func(id string) string { return "https" + strings.TrimPrefix(id, "spiffe") }), bad, "scheme is missing or invalid"},
		{"the trust domain alone", called("spiffe://onprem.demo"), bad, "has no path"},
		{"path of a slash", called("spiffe://onprem.demo/"), bad, "trailing slash"},
		{"slash at its end", named(func(id string) string { return id + "/" }), bad, "trailing slash"},
		{"wildcard path", called("spiffe://onprem.demo/*"), bad, "path segment characters are limited"},
		{"wildcard in the path", named(func(id string) string { return id[:len(id)-1] + "*" }), bad, "path segment characters are limited"},
		{"wildcard trust domain", called("spiffe://*/ai/orchestrator"), bad, "trust domain characters are limited"},
		{"wildcard below the trust domain", called("spiffe://*.demo/ai/orchestrator"), bad, "trust domain characters are limited"},
		{"dot segments that lead to it", named(func(id string) string { return strings.Replace(id, ".demo/", ".demo/x/../", 1) }), bad, "dot segments"},
		{"a dot segment", named(func(id string) string { return strings.Replace(id, ".demo/", ".demo/./", 1) }), bad, "dot segments"},
		{"escaped dot segments", named(func(id string) string { return strings.Replace(id, ".demo/", ".demo/x/%2e%2e/", 1) }), bad, "path segment characters are limited"},
		{"an empty segment", named(func(id string) string { return strings.Replace(id, ".demo/", ".demo//", 1) }), bad, "empty segments"},
		{"an escaped letter", named(func(id string) string { return id[:len(id)-1] + "%72" }), bad, "path segment characters are limited"},
		{"an escaped slash", named(func(id string) string { return strings.Replace(id, ".demo/", ".demo%2f", 1) }), bad, "invalid URL escape"},
		{"homograph trust domain", named(func(id string) string { return strings.Replace(id, "o", "\u043e", 1) }), bad, "malformed"},
		{"homograph trust domain in punycode", called("spiffe://xn--nprem-rqf.demo/ai/orchestrator"), bad, "no X.509 bundle"},
		{"homograph path, escaped", named(func(id string) string { return id[:len(id)-1] + "%D1%80" }), bad, "path segment characters are limited"},
		{"trust domain in capitals", named(func(id string) string { return strings.Replace(id, ".demo", ".DEMO", 1) }), bad, "trust domain characters are limited"},
		{"with a user", named(func(id string) string { return strings.Replace(id, "://", "://root@", 1) }), bad, "trust domain characters are limited"},
		{"with a port", named(func(id string) string { return strings.Replace(id, ".demo", ".demo:443", 1) }), bad, "trust domain characters are limited"},
		{"with a query", named(func(id string) string { return id + "?a=b" }), bad, "path segment characters are limited"},
		{"with a fragment", named(func(id string) string { return id + "#a" }), bad, "path segment characters are limited"},
		{"with a NUL behind it", named(func(id string) string { return id + "\x00.evil" }), bad, "cannot parse URI"},
		{"longer than an ID may be", named(func(id string) string { return id + strings.Repeat("a", 2048) }), bad, "the limit is 2048"},

		// What it is for.
		{"CA bit", template509(func(c *x509.Certificate) { c.IsCA = true }), bad, "may sign others"},
		{"may sign certificates", template509(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), bad, "may sign others"},
		{"may sign revocations", template509(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), bad, "may sign others"},
		{"may not sign anything", template509(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), bad, "other purposes than TLS"},
		{"for signing code", template509(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), bad, "other purposes than TLS"},

		// When.
		{"expired", template509(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), expired, "expired 1m"},
		{"not yet valid", template509(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), expired, "not yet valid"},
		{"under an intermediate that expired", under(strong, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), expired, "expired 1m"},

		// How it is made.
		{"an intermediate below the intermediate", forge(func(_ *testing.T, d *certstest.Domain, f *certstest.Forgery) {
			below := d.Sign(signing("below"), f.By, strong.Public(), f.Signer)
			f.Shown = append(f.Shown, below)
			f.By, f.Signer = below, strong
		}), bad, "too many intermediates"},
		{"an intermediate that may not sign", under(strong, func(c *x509.Certificate) { c.IsCA = false }), bad, "parent certificate cannot sign"},
		{"chain of 20, each signed by the next", forge(func(_ *testing.T, d *certstest.Domain, f *certstest.Forgery) {
			f.Shown = tower(d, strong, 19)
			f.By, f.Signer = f.Shown[0], strong
		}), bad, "a chain of 20 certificates, the limit is 8"},
		{"chain of 20, of which it needs two", forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) {
			f.Shown = slices.Repeat(f.Shown, 19)
		}), bad, "a chain of 20 certificates, the limit is 8"},
		{"extension of 1 MB", extended(false, 1<<20), bad, "exceeds maximum of 262144 bytes"},
		{"extension of 200 KB", extended(false, 200<<10), bad, "the limit is 65536"},
		{"unknown critical extension", extended(true, 8), bad, "unhandled critical extension"},
		{"signed with SHA-1", template509(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), bad, "insecure algorithm ECDSA-SHA1"},
		{"signature that is another's", broken(func(der []byte) []byte { der[len(der)-1] ^= 1; return der }), bad, "unknown authority"},
		{"cut off", broken(func(der []byte) []byte { return der[:100] }), bad, "malformed certificate"},
		{"bytes behind it", broken(func(der []byte) []byte { return append(der, 0, 0) }), bad, "trailing data"},
		{"no certificate at all", broken(func([]byte) []byte { return []byte("spiffe://onprem.demo/ai/orchestrator") }), bad, "malformed certificate"},

		// Its key.
		{"RSA of 1024 bits", forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) {
			f.Public, f.Holder = weak.Public(), weak
		}), bad, "an RSA key of 1024 bits"},
		{"RSA of 16384 bits", forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) { f.Public = hugeRSA() }), bad, "RSA key larger than 8192 bits"},
		{"key on P-224", forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) { f.Public = odd.Public() }), bad, "a key on the curve P-224"},
		{"under an intermediate of RSA of 1024 bits", under(weak, own), bad, "an RSA key of 1024 bits"},
		{"under an intermediate on P-224", under(odd, own), bad, "a key on the curve P-224"},
	}
}

// extended is an SVID with an extension that nobody knows.
func extended(critical bool, size int) forger {
	return forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) {
		f.Extension(oid, critical, make([]byte, size))
	})
}

// stranger509 is an SVID under a root of one's own making.
func stranger509(name string) forger {
	return forge(func(t *testing.T, d *certstest.Domain, f *certstest.Forgery) {
		key := ecKey(t, elliptic.P256())
		root := signing(name)
		f.By, f.Signer = d.Sign(root, root, key.Public(), key), key
		f.Shown = []*x509.Certificate{f.By}
	})
}

// byWorkload is an SVID that a workload has signed with its own.
func byWorkload(t *testing.T, d *certstest.Domain, id spiffeid.ID) tls.Certificate {
	t.Helper()
	svid := d.Certificate(id)
	return d.Forge(id, func(f *certstest.Forgery) {
		f.By, f.Signer = svid.Leaf, svid.PrivateKey.(*ecdsa.PrivateKey)
		f.Shown = append([]*x509.Certificate{svid.Leaf}, f.Shown...)
	})
}

// gate is a listener at which one must show an X509-SVID, and who would be let in.
type gate struct {
	name, of, listener, addr string
	proto                    []string
	as                       spiffeid.ID
}

func gates(t *testing.T, m *meshtest.Mesh) []gate {
	onprem, azure := m.Started(t, "onprem-1"), m.Started(t, "azure-1")
	plane := onprem.GetControlPlane()
	return []gate{
		{"attach", localmesh.GatewayID("onprem").String(), "attach", onprem.GetAttach(), []string{"http/1.1"}, localmesh.ID("orchestrator")},
		{"port", localmesh.GatewayID("onprem").String(), "attach", meshtest.PortOf(m, 0), nil, localmesh.ID("orchestrator")},
		{"tunnel", localmesh.GatewayID("azure").String(), "tunnel", azure.GetTunnel(), []string{mux.ALPN}, localmesh.GatewayID("onprem")},
		{"control", plane.GetId(), "control", plane.GetAddress(), []string{"h2"}, localmesh.GatewayID("onprem")},
	}
}

// TestBadSVIDs shows every bad X509-SVID at every gate, and has a destination show
// it. Nobody is let in, nothing crosses, and what was wrong is in the record.
func TestBadSVIDs(t *testing.T) {
	t.Parallel()
	m := meshtest.WithPorts(t, meshtest.Plain(), "llm.azure.mesh:8000")
	cases := badSVIDs(t)
	t.Run("at gates", func(t *testing.T) { besiegeGates(t, m, cases) })
	meshtest.WantCrossing(t, m)
	t.Run("at a destination", func(t *testing.T) { callBad(t, m, cases) })
}

func besiegeGates(t *testing.T, m *meshtest.Mesh, cases []badSVID) {
	onprem := m.Stolen(t, "onprem")
	all := gates(t, m)
	intruder := func(c, g int) meshtest.Intruder { return meshtest.Intruder(c*len(all) + g + 1) }
	if n := len(cases) * len(all); n > 254 {
		t.Fatalf("%d tries, and there are only so many networks to make them from", n)
	}
	for n, c := range cases {
		for k, g := range all {
			shown := c.shown(t, onprem, g.as)
			conn := tls.Client(intruder(n, k).Dial(t, g.addr), showing(shown, g.proto...))
			io.WriteString(conn, "GET /v1/models HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\n\r\n") // its outcome is read
			if answer, err := io.ReadAll(conn); len(answer) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s at %s: answered with %q, %v", c.name, g.name, answer, err)
			}
			conn.Close()
		}
	}
	for n, c := range cases {
		for k, g := range all {
			r := m.Refusal(t, intruder(n, k))
			f := r.GetRefusal()
			if r.GetGateway() != g.of || f.GetListener() != g.listener || f.GetCount() != 1 || f.GetReason() != c.reason || !strings.Contains(f.GetDetail(), c.detail) {
				t.Errorf("%s at %s was counted as %v, want %s, %q", c.name, g.name, r, c.reason, c.detail)
			}
			wantShown(t, f.GetDetail(), 512)
		}
	}
}

// showing is a TLS client that trusts anybody and shows what it is given, whether
// the server would like it or not.
func showing(c tls.Certificate, protos ...string) *tls.Config {
	config := meshtest.Stranger(protos)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	return config
}

// wantShown holds that a detail is for people to read, whatever a stranger sent.
func wantShown(t *testing.T, detail string, most int) {
	t.Helper()
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	if len(detail) > most || strings.ContainsFunc(detail, odd) {
		t.Errorf("detail of %d bytes: %q", len(detail), detail)
	}
}

// callBad calls a destination that shows the bad SVIDs.
func callBad(t *testing.T, m *meshtest.Mesh, cases []badSVID) {
	azure, llm := m.Stolen(t, "azure"), localmesh.ID("llm")
	var shown atomic.Pointer[tls.Certificate]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var trusted atomic.Bool
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: meshtest.Patience, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if !trusted.Load() {
			t.Error("a request came to a destination that nobody may trust")
		}
	})}
	go srv.Serve(tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil }}))
	t.Cleanup(func() { srv.Close() })
	if err := m.Register(m.Context, "llm", map[string]string{"chat": l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	caller := m.As(t, "orchestrator")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			forged := c.shown(t, azure, llm)
			shown.Store(&forged)
			resp := meshtest.Chat(m.Context, t, caller, false, nil)
			meshtest.ReadAll(t, resp)
			r := m.Record(t, resp.Header.Get("sallyport-crossing"))
			end := r.GetIngress()
			if resp.StatusCode != http.StatusServiceUnavailable || end.GetReason() != crossingv1.Reason_UNREACHABLE || !strings.Contains(end.GetDetail(), c.detail) {
				t.Errorf("status %d, record: %v, want %q", resp.StatusCode, end, c.detail)
			}
			wantShown(t, end.GetDetail(), 512)
		})
	}
	good := azure.Certificate(llm)
	shown.Store(&good)
	trusted.Store(true)
	meshtest.WantCrossing(t, m) // which shows that nothing else was wrong
}

// TestUnusualSVIDs are let in: they are as good as those of the authority.
func TestUnusualSVIDs(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	onprem := m.Stolen(t, "onprem")
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, p384 := rsaKey(t, 2048), ecKey(t, elliptic.P384())
	for _, c := range []struct {
		name  string
		shown forger
	}{
		{"Ed25519", forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) {
			f.Public, f.Holder = edwards.Public(), edwards
		})},
		{"RSA of 2048 bits", forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) { f.Public, f.Holder = big.Public(), big })},
		{"under an intermediate on P-384", under(p384, func(*x509.Certificate) {})},
		{"8 certificates", forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) { f.Shown = slices.Repeat(f.Shown, 7) })},
		{"extension of 32 KB", extended(false, 32<<10)},
		{"a name in its subject", template509(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "spiffe://azure.demo/ai/llm"} })},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown := c.shown(t, onprem, localmesh.ID("orchestrator"))
			conn := tls.Client(meshtest.Intruder(1).Dial(t, m.Started(t, "onprem-1").GetAttach()), showing(shown, "http/1.1"))
			io.WriteString(conn, "GET /v1/models HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\n\r\n") // its outcome is read
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
				t.Errorf("status %d: %s", resp.StatusCode, body)
			}
		})
	}
}
