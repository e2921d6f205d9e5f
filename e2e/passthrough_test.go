package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// tlsPolicy is the embedded policy with a service of the llm that is called by TLS.
func tlsPolicy(t *testing.T) []byte {
	t.Helper()
	text := meshtest.Edit(t, string(template()), `health: "grpc://:9000"`, `health: "grpc://:9000", vault: "tls://:7443"`)
	return []byte(meshtest.Edit(t, text, "\nintents:\n", "\nintents:\n  - name: open-the-vault\n    allow: {from: orchestrator, to: llm, service: vault}\n"))
}

// vault is a TLS server with a private CA, which no gateway knows and which wants
// its clients' certificates. It says which one it saw.
type vault struct {
	ca *certstest.Domain
}

func startVault(t *testing.T, m *meshtest.Mesh) *vault {
	t.Helper()
	v := &vault{certstest.Mesh(t, "private.test")["private.test"]}
	config := &tls.Config{
		Certificates: []tls.Certificate{v.ca.Certificate(v.ca.ID("/vault"), "llm.azure.mesh", "other.azure.mesh")},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: v.ca.Roots(),
	}
	serveTCP(t, m, "vault", func(c *net.TCPConn) {
		defer c.Close()
		inner := tls.Server(c, config)
		question, err := bufio.NewReader(inner).ReadString('\n')
		if err != nil {
			return
		}
		fmt.Fprintf(inner, "%s asked %s", inner.ConnectionState().PeerCertificates[0].URIs[0], question)
		inner.Close()
	})
	return v
}

// ask speaks TLS with the vault on a connection, and gives its answer.
func (v *vault) ask(conn net.Conn, server string) (string, error) {
	inner := tls.Client(conn, &tls.Config{
		RootCAs: v.ca.Roots(), ServerName: server, Certificates: []tls.Certificate{v.ca.Certificate(v.ca.ID("/client"))},
	})
	if _, err := io.WriteString(inner, "what is the secret\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(inner)
	return string(answer), err
}

// attached are the ways in which a caller gets a byte stream to the vault.
func attached(t *testing.T, m *meshtest.Mesh) map[string]func(t *testing.T) net.Conn {
	connectOn := func(t *testing.T, conn net.Conn, credential string) net.Conn {
		t.Helper()
		const target = "llm.azure.mesh:7443"
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, target, credential)
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("CONNECT: %v, %v", resp, err)
		}
		return conn
	}
	return map[string]func(t *testing.T) net.Conn{
		"CONNECT on loopback": func(t *testing.T) net.Conn {
			conn, err := net.Dial("tcp", m.Gateways["onprem-1"].LoopbackAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return connectOn(t, conn, "Proxy-Authorization: Bearer "+m.Token(t, "orchestrator", "onprem")+"\r\n")
		},
		"CONNECT over TLS": func(t *testing.T) net.Conn {
			config := m.TrustOnly(t, "onprem")
			config.NextProtos = []string{"http/1.1"}
			conn, err := tls.Dial("tcp", m.Gateways["onprem-1"].AttachAddr().String(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return connectOn(t, conn, "Proxy-Authorization: Bearer "+m.Token(t, "orchestrator", "onprem")+"\r\n")
		},
		"CONNECT over HTTP/2": func(t *testing.T) net.Conn { return connectH2(t, m, "llm.azure.mesh:7443") },
		"mapped port":         func(t *testing.T) net.Conn { return dialPort(t, m, 0, "orchestrator") },
	}
}

// h2Conn is a byte stream that a CONNECT of HTTP/2 opened. Its deadlines and
// addresses are those of the connection that it shares.
type h2Conn struct {
	net.Conn
	said  *io.PipeWriter
	heard io.ReadCloser
}

func (c *h2Conn) Read(p []byte) (int, error)  { return c.heard.Read(p) }
func (c *h2Conn) Write(p []byte) (int, error) { return c.said.Write(p) }

// Close ends what is said, as whoever has all of the answer does.
func (c *h2Conn) Close() error { return c.said.Close() }

// connectH2 opens a byte stream over a connection of HTTP/2.
func connectH2(t *testing.T, m *meshtest.Mesh, target string) net.Conn {
	t.Helper()
	config := m.TrustOnly(t, "onprem")
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", m.Gateways["onprem-1"].AttachAddr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	client := &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Protocols:      new(http.Protocols),
	}
	client.Protocols.SetHTTP2(true)
	heard, said := io.Pipe()
	req, err := http.NewRequestWithContext(m.Context, http.MethodConnect, "https://"+target, heard)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Proxy-Authorization", "Bearer "+m.Token(t, "orchestrator", "onprem"))
	resp, err := client.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Fatalf("CONNECT: %v, %v", resp, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &h2Conn{conn, said, resp.Body}
}

// TestTLSPassesThrough: an inner mTLS between the caller and the destination,
// under a CA of their own, is theirs from end to end.
func TestTLSPassesThrough(t *testing.T) {
	t.Parallel()
	m := meshtest.WithPorts(t, tlsPolicy(t), "llm.azure.mesh:7443")
	v := startVault(t, m)
	for name, attach := range attached(t, m) {
		t.Run(name, func(t *testing.T) {
			since := time.Now()
			conn := attach(t)
			answer, err := v.ask(conn, "llm.azure.mesh")
			conn.Close()
			if want := v.ca.ID("/client").String() + " asked what is the secret\n"; err != nil || answer != want {
				t.Errorf("the vault said %q, %v; want %q", answer, err, want)
			}
			r := after(t, m, since)
			if !r.GetAgree() || r.GetOperation().GetProtocol() != "tls" || r.GetOperation().GetName() != "CONNECT" ||
				r.GetEgress().GetContentSeen() || r.GetIngress().GetContentSeen() || r.GetEgress().GetClose() != crossingv1.Cause_DONE ||
				r.GetSource() != localmesh.ID("orchestrator").String() {
				t.Errorf("record: %v", r)
			}
		})
	}
}

// TestTLSForAnotherServer: what is not TLS for the destination ends where it came
// in, and the record says why.
func TestTLSForAnotherServer(t *testing.T) {
	t.Parallel()
	m := meshtest.WithPorts(t, tlsPolicy(t), "llm.azure.mesh:7443")
	v := startVault(t, m)
	for name, attach := range attached(t, m) {
		t.Run(name, func(t *testing.T) {
			since := time.Now()
			if answer, err := v.ask(attach(t), "other.azure.mesh"); err == nil {
				t.Errorf("the vault said %q", answer)
			}
			refusedFor(t, m, since, "the ClientHello is for other.azure.mesh, want llm.azure.mesh")
			since = time.Now()
			conn := attach(t)
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if answer, err := io.ReadAll(conn); err == nil && len(answer) > 0 {
				t.Errorf("something said %q", answer)
			}
			refusedFor(t, m, since, "do not begin a handshake record")
		})
	}
	rejectedNothing(t, m)
}

func refusedFor(t *testing.T, m *meshtest.Mesh, since time.Time, detail string) {
	t.Helper()
	r := after(t, m, since)
	if e := r.GetEgress(); e.GetDecision() != crossingv1.Decision_ALLOW || e.GetClose() != crossingv1.Cause_PROTOCOL_ERROR ||
		e.GetReason() != crossingv1.Reason_MALFORMED || !strings.Contains(e.GetDetail(), detail) || e.GetRequestBytes() != 0 ||
		r.GetIngress().GetRequestBytes() != 0 {
		t.Errorf("record: %v", r)
	}
}
