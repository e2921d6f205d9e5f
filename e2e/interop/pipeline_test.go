//go:build linux

package interop

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// TestPipelining writes many requests before it reads an answer: they are
// answered in order, each is a crossing, and the destination takes each once
// (RFC 9112 9.3.2).
func TestPipelining(t *testing.T) {
	echo, taken := serve(t, "echo", "http")
	m := meshWith(t, nil, echo)
	host := "Host: " + echo.host() + "\r\n"
	requests := []struct{ method, path, rest string }{
		{"GET", "/1", "\r\n"},
		{"POST", "/2", "Content-Length: 5\r\n\r\nhello"},
		{"HEAD", "/3", "\r\n"},
		{"POST", "/4", "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Trailer: t\r\n\r\n"},
	}
	for _, c := range []struct {
		name  string
		piece int // bytes of one write; 0: all at once
	}{{"in one piece", 0}, {"byte by byte", 1}, {"in pieces", 7}} {
		t.Run(c.name, func(t *testing.T) {
			conn := attachTLS(t, m, meshtest.Intruder(1), "http/1.1")
			var all strings.Builder
			for _, r := range requests {
				fmt.Fprintf(&all, "%s %s HTTP/1.1\r\n%s%s", r.method, r.path, host, r.rest)
			}
			go inPieces(conn, all.String(), c.piece)
			br := bufio.NewReader(conn)
			for _, r := range requests {
				resp, err := http.ReadResponse(br, &http.Request{Method: r.method})
				if err != nil {
					t.Fatalf("the answer to %s: %v", r.path, err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Fatalf("%s: status %d, %v: %s", r.path, resp.StatusCode, err, body)
				}
				var h hit
				if err := json.Unmarshal(body, &h); r.method != "HEAD" && (err != nil || h.Target != r.path) {
					t.Errorf("the answer to %s is that to %s; %v", r.path, h.Target, err)
				}
				if rec := m.Record(t, resp.Header.Get("sallyport-crossing")); rec.GetOperation().GetName() != r.method+" "+r.path || !rec.GetAgree() {
					t.Errorf("record: %v", rec)
				}
			}
		})
	}
	times := map[string]int{}
	for _, h := range taken.taken() {
		times[h.Method+" "+h.Target]++
		if h.Target == "/4" && h.Trailer.Get("X-Trailer") != "t" {
			t.Errorf("trailers came as %v", h.Trailer)
		}
	}
	for _, r := range requests {
		if n := times[r.method+" "+r.path]; n != 3 {
			t.Errorf("%s was asked for %d times, want 3", r.path, n)
		}
	}
}

// inPieces writes a text in writes of so many bytes.
func inPieces(w io.Writer, text string, piece int) {
	for piece > 0 && len(text) > piece {
		if _, err := io.WriteString(w, text[:piece]); err != nil {
			return
		}
		text = text[piece:]
	}
	io.WriteString(w, text)
}

// attachTLS attaches as the orchestrator from an intruder's network.
func attachTLS(t testing.TB, m *meshtest.Mesh, from meshtest.Intruder, protocol string) *tls.Conn {
	t.Helper()
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	raw := from.Dial(t, m.Started(t, "onprem-1").GetAttach())
	conn := tls.Client(raw, certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), protocol))
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	if err := conn.HandshakeContext(m.Context); err != nil {
		t.Fatal(err)
	}
	return conn
}
