//go:build linux

package interop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/e2e/rawh2"
)

const elsewhere = "By=spiffe://azure.demo/x;URI=spiffe://aws.demo/ai/retriever"

// spoofed are fields in which only a gateway may speak, in the ways that a
// server behind it could take for them: CGI has an underscore for a dash.
var spoofed = []string{
	"x-forwarded-client-cert", elsewhere,
	"x-forwarded-client-cert", elsewhere,
	"x_forwarded_client_cert", elsewhere,
	"x-forwarded_client-cert", elsewhere,
	"x-forwarded-for", "10.0.0.1",
	"x-forwarded-host", "bank.example",
	"x-forwarded-proto", "https",
	"x-forwarded-user", "root",
	"x-forwarded-anything", "1",
	"x_forwarded_for", "10.0.0.1",
	"x-real-ip", "10.0.0.1",
	"x_real_ip", "10.0.0.1",
	"sallyport-crossing", "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88",
	"sallyport-source", "spiffe://aws.demo/ai/retriever",
	"sallyport_source", "spiffe://aws.demo/ai/retriever",
	"sallyport-anything", "1",
	"sallyport-anything", "2",
	"sallyport_proof", "1",
	"sallyport-proof", "1",
	"sallyport-", "1",
}

// kept are fields that look like them and are the caller's own.
var kept = []string{"x-kept", "yes", "x-forwarded", "no", "my-x-forwarded-for", "yes", "sallyports", "two"}

// TestSpoofedIdentity shows what a destination sees of who calls, whatever the
// caller says, in each way to attach: in the head and in the trailers.
func TestSpoofedIdentity(t *testing.T) {
	at, recorder := serve(t, "echo", "http")
	m := meshWith(t, nil, at)
	token := m.Token(t, "orchestrator", "onprem")
	loopback, attach := m.Started(t, "onprem-1").GetAttachLoopback(), m.Started(t, "onprem-1").GetAttach()
	host := fmt.Sprintf("%s:%d", at.host(), at.port)
	plain := func(t *testing.T) net.Conn { return dial(t, loopback) }
	for _, c := range []struct {
		name, version string
		open          func(t *testing.T) net.Conn
		host, target  string
		credential    []string
	}{
		{"mTLS", "1", func(t *testing.T) net.Conn { return attachTLS(t, m, 1, "http/1.1") }, host, "/spoof", nil},
		{"mTLS, absolute form", "1", func(t *testing.T) net.Conn { return attachTLS(t, m, 1, "http/1.1") }, host, "https://" + host + "/spoof", nil},
		{"mTLS", "2", func(t *testing.T) net.Conn { return attachTLS(t, m, 1, "h2") }, host, "/spoof", nil},
		{"JWT-SVID", "1", plain, host, "/spoof", []string{"authorization", "Bearer " + token}},
		{"JWT-SVID at a base URL", "1", plain, loopback, "/" + host + "/spoof", []string{"authorization", "Bearer " + token}},
		{"JWT-SVID as an API key", "1", plain, loopback, "/" + host + "/spoof", []string{"x-api-key", token}},
		{"JWT-SVID, absolute form", "1", plain, host, "http://" + host + "/spoof", []string{"proxy-authorization", "Bearer " + token}},
		{"JWT-SVID", "2", plain, host, "/spoof", []string{"authorization", "Bearer " + token}},
		{"JWT-SVID at a base URL", "2", plain, loopback, "/" + host + "/spoof", []string{"authorization", "Bearer " + token}},
		{"JWT-SVID over TLS", "2", func(t *testing.T) net.Conn { return trusting(t, m, attach) }, host, "/spoof", []string{"authorization", "Bearer " + token}},
	} {
		t.Run(c.name+", HTTP/"+c.version, func(t *testing.T) {
			before := len(recorder.taken())
			conn := c.open(t)
			send := spoof1
			if c.version == "2" {
				send = spoof2
			}
			status, crossing := send(t, conn, c.host, c.target, c.credential)
			hits := recorder.taken()[before:]
			if status != http.StatusOK || len(hits) != 1 {
				t.Fatalf("status %d, and %d requests at the destination", status, len(hits))
			}
			wantOwn(t, &hits[0], crossing, token)
			if r := m.Record(t, crossing); r.GetSource() != "spiffe://onprem.demo/ai/orchestrator" || !r.GetAgree() {
				t.Errorf("record: %v", r)
			}
		})
	}
}

// wantOwn holds that a destination sees the gateway's word on who calls, and
// nobody else's.
func wantOwn(t *testing.T, h *hit, crossing, token string) {
	t.Helper()
	for _, fields := range []http.Header{h.Header, h.Trailer} {
		for name, values := range fields {
			switch plain := strings.ReplaceAll(strings.ToLower(name), "_", "-"); {
			case name == "X-Forwarded-Client-Cert", name == "Sallyport-Crossing":
			case strings.HasPrefix(plain, "x-forwarded-"), strings.HasPrefix(plain, "sallyport-"), plain == "x-real-ip", plain == "proxy-authorization":
				t.Errorf("the destination sees %s: %q", name, values)
			}
			if strings.Contains(strings.Join(values, ""), token) {
				t.Errorf("the destination sees the caller's token in %s", name)
			}
		}
	}
	xfcc := h.Header.Values("X-Forwarded-Client-Cert")
	if len(xfcc) != 1 || !strings.HasPrefix(xfcc[0], "By=spiffe://aws.demo/sallyport/gateway/aws-1;") ||
		!strings.HasSuffix(xfcc[0], ";URI=spiffe://onprem.demo/ai/orchestrator") || strings.Count(xfcc[0], "URI=") != 1 {
		t.Errorf("x-forwarded-client-cert: %q", xfcc)
	}
	if got := h.Header.Values("Sallyport-Crossing"); len(got) != 1 || got[0] != crossing || crossing == "" {
		t.Errorf("sallyport-crossing: %q, want %q", got, crossing)
	}
	for i := 0; i < len(kept); i += 2 {
		if got := h.Header.Get(kept[i]); got != kept[i+1] {
			t.Errorf("%s: %q, want %q", kept[i], got, kept[i+1])
		}
	}
	if len(h.Trailer.Values("X-Forwarded-Client-Cert")) != 0 || len(h.Trailer.Values("Sallyport-Crossing")) != 0 || h.Trailer.Get("X-Kept") != "yes" {
		t.Errorf("trailers: %v", h.Trailer)
	}
}

// spoof1 sends the fields in HTTP/1.1, in the case that people write them in.
func spoof1(t *testing.T, conn net.Conn, host, target string, credential []string) (status int, crossing string) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "POST %s HTTP/1.1\r\nHost: %s\r\n", target, host)
	writeFields(&text, credential, spoofed, kept)
	text.WriteString("Connection: x-forwarded-client-cert, sallyport-crossing\r\nTrailer: x-kept, x-forwarded-client-cert\r\n" +
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n")
	writeFields(&text, spoofed, kept)
	text.WriteString("\r\n")
	if _, err := io.WriteString(conn, text.String()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Sallyport-Crossing")
}

func writeFields(text *strings.Builder, lists ...[]string) {
	for _, pairs := range lists {
		for i := 0; i < len(pairs); i += 2 {
			fmt.Fprintf(text, "%s: %s\r\n", http.CanonicalHeaderKey(pairs[i]), pairs[i+1])
		}
	}
}

// spoof2 sends them in HTTP/2, from where they need not be announced.
func spoof2(t *testing.T, conn net.Conn, host, target string, credential []string) (status int, crossing string) {
	t.Helper()
	c, err := rawh2.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	scheme := "http"
	if _, ok := conn.(*tls.Conn); ok {
		scheme = "https"
	}
	head := []string{":method", "POST", ":scheme", scheme, ":authority", host, ":path", target}
	head = append(append(append(head, credential...), spoofed...), kept...)
	head = append(head, "trailer", "x-kept, x-forwarded-client-cert")
	for _, err := range []error{c.Headers(1, false, head...), c.Data(1, false, []byte("hello")), c.Headers(1, true, append(append([]string{}, spoofed...), kept...)...)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	answers, end := c.Await(1)
	if answers[1] == nil {
		t.Fatalf("no answer: %v", end.Err)
	}
	return answers[1].Status, answers[1].Header.Get("sallyport-crossing")
}

// trusting connects over TLS as a client that knows nothing of SPIFFE.
func trusting(t testing.TB, m *meshtest.Mesh, addr string) net.Conn {
	t.Helper()
	config := m.TrustOnly(t, "onprem")
	config.ServerName, config.NextProtos = "localhost", []string{"h2"}
	return tls.Client(dial(t, addr), config)
}

// dial connects as anybody may.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}
