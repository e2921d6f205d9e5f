package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestAttach calls the llm in every way that a workload may attach.
func TestAttach(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	loopback := m.Gateways["onprem-1"].LoopbackAddr().String()
	attach := m.Gateways["onprem-1"].AttachAddr()
	token := m.Token(t, "orchestrator", "onprem")
	for _, c := range []struct {
		name   string
		url    string
		header http.Header
		via    *http.Transport
		attach crossingv1.Attach
	}{
		{
			"base URL on loopback, JWT-SVID as API key", "http://llm.azure.mesh:8000/v1/chat/completions",
			http.Header{"Authorization": {"Bearer " + token}},
			&http.Transport{DialContext: meshtest.DialTo(m.Gateways["onprem-1"].LoopbackAddr())}, crossingv1.Attach_JWT,
		},
		{
			"base URL over TLS by DNS name", "https://llm.azure.mesh:8000/v1/chat/completions",
			http.Header{"Authorization": {"Bearer " + token}},
			&http.Transport{DialContext: meshtest.DialTo(attach), TLSClientConfig: m.TrustOnly(t, "onprem")}, crossingv1.Attach_JWT,
		},
		{
			"forward proxy, absolute form, JWT-SVID", "http://llm.azure.mesh:8000/v1/chat/completions", nil,
			&http.Transport{
				Proxy:              http.ProxyURL(&url.URL{Scheme: "http", Host: loopback}),
				ProxyConnectHeader: http.Header{},
				OnProxyConnectResponse: func(context.Context, *url.URL, *http.Request, *http.Response) error {
					return fmt.Errorf("CONNECT was not expected")
				},
			}, crossingv1.Attach_JWT,
		},
		{
			"http_proxy with a user, absolute form", "http://llm.azure.mesh:8000/v1/chat/completions",
			http.Header{},
			&http.Transport{
				Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: loopback, User: url.UserPassword("jwt", token)}),
			}, crossingv1.Attach_JWT,
		},
		{
			"https_proxy with a user, by address", "http://llm.azure.mesh:8000/v1/chat/completions",
			http.Header{},
			&http.Transport{
				Proxy:           http.ProxyURL(&url.URL{Scheme: "https", Host: attach.String(), User: url.UserPassword("bearer", token)}),
				TLSClientConfig: m.TrustOnly(t, "onprem"),
			}, crossingv1.Attach_JWT,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(m.Context, http.MethodPost, c.url, strings.NewReader(meshtest.ChatBody))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = c.header
			if c.header == nil {
				req.Header = http.Header{"Proxy-Authorization": {"Bearer " + token}}
			}
			defer c.via.CloseIdleConnections()
			resp, err := (&http.Client{Transport: c.via}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
				t.Fatalf("status %d: %s", resp.StatusCode, body)
			}
			r := m.Record(t, resp.Header.Get("sallyport-crossing"))
			if r.GetSource() != "spiffe://onprem.demo/ai/orchestrator" || r.GetEgress().GetPeer().GetAttach() != c.attach {
				t.Errorf("source %q attached by %s", r.GetSource(), r.GetEgress().GetPeer().GetAttach())
			}
		})
	}
}

// TestNoIdentity shows that nobody attaches anonymously, and that failures
// before identity are counted.
func TestNoIdentity(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	foreign := m.Token(t, "llm", "azure")
	for _, c := range []struct{ name, authorization string }{
		{"nothing shown", ""},
		{"no token", "Bearer sk-not-a-token"},
		{"token of another trust domain and audience", "Bearer " + foreign},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(m.Context, http.MethodPost,
				"http://"+m.Gateways["onprem-1"].LoopbackAddr().String()+"/v1/chat/completions", strings.NewReader(meshtest.ChatBody))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "llm.azure.mesh:8000"
			if c.authorization != "" {
				req.Header.Set("Authorization", c.authorization)
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("status %d, want 401: %s", resp.StatusCode, body)
			}
		})
	}
	awaitRefusals(t, m, 3)
	if got := m.Crossings(t, &controlv1.ListCrossingsRequest{}); len(got) != 0 {
		t.Errorf("%d crossings without an identity", len(got))
	}
}

// awaitRefusals waits until the control plane counts n failures before identity.
func awaitRefusals(t *testing.T, m *meshtest.Mesh, n uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(m.Context, meshtest.Patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ; ; <-ticker.C {
		stream, err := controlv1.NewCrossingServiceClient(m.API()).ListRefusals(ctx, &controlv1.ListRefusalsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var count uint64
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.GetRefusal().GetReason() == crossingv1.Reason_REASON_UNSPECIFIED {
				t.Fatalf("a refusal without a reason: %v", r)
			}
			count += r.GetRefusal().GetCount()
		}
		if count >= n {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d refusals, want %d", count, n)
		}
	}
}

// TestConnect sends opaque bytes through both gateways: here an inner mTLS
// between the orchestrator and a server that checks the orchestrator itself.
func TestConnect(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.Policy = policyWith(t, connectIntent) })
	source, err := m.Source(m.Context, "llm")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].URIs[0])
	}))
	l := tls.NewListener(srv.Listener, certs.ServerTLS(source, certs.AuthorizeID(localmesh.ID("orchestrator")), "http/1.1"))
	go http.Serve(l, srv.Config.Handler)
	t.Cleanup(func() { l.Close() })
	if err := m.Register(m.Context, "llm", map[string]string{"vectors": srv.Listener.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	conn, resp := connect(t, m, "llm.azure.mesh:7000")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("CONNECT: %s", resp.Status)
	}
	caller, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	inner := tls.Client(conn, certs.ClientTLS(caller, certs.AuthorizeID(localmesh.ID("llm")), "http/1.1"))
	fmt.Fprintf(inner, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(inner), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body := meshtest.ReadAll(t, answer); string(body) != "spiffe://onprem.demo/ai/orchestrator" {
		t.Errorf("the server saw %q", body)
	}
	conn.Close()
	r := m.Record(t, resp.Header.Get("sallyport-crossing"))
	if r.GetOperation().GetName() != "CONNECT" || r.GetEgress().GetContentSeen() || r.GetEgress().GetRequestBytes() == 0 {
		t.Errorf("record: %v", r)
	}

	conn, resp = connect(t, m, "nobody.azure.mesh:443")
	defer conn.Close()
	var p struct{ Reason, Crossing string }
	if err := json.Unmarshal(meshtest.ReadAll(t, resp), &p); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusForbidden || p.Reason != "UNKNOWN_DESTINATION" {
		t.Errorf("an unknown host: status %d, reason %q", resp.StatusCode, p.Reason)
	}
	m.Record(t, p.Crossing)
}

const connectIntent = `
  - name: raw-vectors
    allow: {from: orchestrator, to: llm, service: vectors}
`

// policyWith is the embedded policy with one more intent and a raw service.
func policyWith(t *testing.T, intent string) []byte {
	t.Helper()
	text := string(template())
	text = meshtest.Edit(t, text, `health: "grpc://:9000"`, `health: "grpc://:9000", vectors: "tcp://:7000"`)
	return []byte(meshtest.Edit(t, text, "\nintents:\n", "\nintents:"+intent))
}

// connect asks the gateway's forward proxy for a byte stream.
func connect(t *testing.T, m *meshtest.Mesh, target string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", m.Gateways["onprem-1"].LoopbackAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Bearer %s\r\n\r\n",
		target, target, m.Token(t, "orchestrator", "onprem"))
	// The client speaks first in TLS, so the reader takes nothing but the head.
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	return conn, resp
}

// TestForgery shows what a workload cannot make the far side believe.
func TestForgery(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	seen := make(chan http.Header, 1)
	m.ServeChat(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
	forged := http.Header{
		"X-Forwarded-Client-Cert": {"By=spiffe://azure.demo/x;URI=spiffe://aws.demo/ai/retriever"},
		"Sallyport-Crossing":      {"01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88"},
		"Sallyport-Anything":      {"1"},
		"X-Kept":                  {"yes"},
	}
	resp := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), false, forged)
	if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	h := <-seen
	xfcc := h.Get("X-Forwarded-Client-Cert")
	if len(h.Values("X-Forwarded-Client-Cert")) != 1 || !strings.Contains(xfcc, "URI=spiffe://onprem.demo/ai/orchestrator") ||
		!strings.HasPrefix(xfcc, "By=spiffe://azure.demo/sallyport/gateway/azure-1;") || strings.Contains(xfcc, "retriever") {
		t.Errorf("x-forwarded-client-cert: %q", h.Values("X-Forwarded-Client-Cert"))
	}
	if h.Get("Sallyport-Crossing") != resp.Header.Get("sallyport-crossing") || h.Get("Sallyport-Anything") != "" {
		t.Errorf("sallyport-crossing %q, sallyport-anything %q", h.Get("Sallyport-Crossing"), h.Get("Sallyport-Anything"))
	}
	if h.Get("X-Kept") != "yes" || h.Get("Traceparent") == "" {
		t.Errorf("x-kept %q, traceparent %q", h.Get("X-Kept"), h.Get("Traceparent"))
	}
}
