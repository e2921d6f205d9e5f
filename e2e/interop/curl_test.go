//go:build linux

package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// curl is curl as a client of a mesh.
type curl struct {
	m            *meshtest.Mesh
	bin, url     string
	mtls, bearer []string // how it shows who it is
	attach       []string // how it reaches the gateway, by the destination's name
	loopback     []string
	proxy        []string
}

// curlCase is one transfer and what came of it.
type curlCase struct {
	name   string
	args   []string
	stdin  []byte
	path   string
	method string
	sent   int64  // bytes of the request's body
	says   string // stands in what curl says of the exchange
	status uint32
}

// TestCurl makes each kind of transfer in each way to attach, and holds what the
// destination took and what was recorded.
func TestCurl(t *testing.T) {
	bin := program(t, "curl", "apt-get install curl")
	echo, _ := serve(t, "echo", "http")
	m := meshWith(t, nil, echo)
	c := newCurl(t, m, bin, echo)
	upload := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(upload, large, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []curlCase{
		{name: "GET", path: "/get?q=1", method: "GET", status: 200},
		{name: "HEAD", args: []string{"--head"}, path: "/large", method: "HEAD", says: "content-length: 1048576", status: 200},
		{name: "POST, large", args: []string{"--data-binary", "@" + upload}, path: "/post", method: "POST", sent: int64(len(large)), status: 200},
		{name: "POST, expecting 100-continue", args: []string{"-H", "Expect: 100-continue", "--data-binary", "@" + upload}, path: "/post", method: "POST", sent: int64(len(large)), says: " 100", status: 200},
		{name: "PUT from stdin", args: []string{"-T", "-"}, stdin: large, path: "/put", method: "PUT", sent: int64(len(large)), status: 200},
		{name: "DELETE with content", args: []string{"-X", "DELETE", "-d", "gone"}, path: "/delete", method: "DELETE", sent: 4, status: 200},
		{name: "method of WebDAV", args: []string{"-X", "PROPFIND", "-H", "Depth: 0"}, path: "/dav", method: "PROPFIND", status: 200},
		{name: "OPTIONS of the server", args: []string{"-X", "OPTIONS", "--request-target", "*"}, path: "/", method: "OPTIONS", status: 200},
		{name: "trailers of the answer", path: "/trailer", method: "GET", says: "x-length: 0", status: 200},
		{name: "range", args: []string{"-r", "16-31"}, path: "/large", method: "GET", says: "content-range: bytes 16-31/1048576", status: 206},
		{name: "resumed", args: []string{"-C", "1048560"}, path: "/large", method: "GET", says: "content-range: bytes 1048560-1048575/1048576", status: 206},
		{name: "range that cannot be had", args: []string{"-r", "9999999-"}, path: "/large", method: "GET", status: 416},
	}
	// curl's own target would take the place of the absolute form.
	absolute := slices.DeleteFunc(slices.Clone(cases), func(c curlCase) bool { return c.method == "OPTIONS" })
	for _, way := range []struct {
		name, version string
		args          [][]string
		cases         []curlCase
	}{
		{"HTTP/1.1, mTLS", "1.1", [][]string{{"--http1.1"}, c.attach, c.mtls}, cases},
		{"HTTP/2, mTLS", "2", [][]string{{"--http2"}, c.attach, c.mtls}, cases},
		{"HTTP/1.1, JWT-SVID", "1.1", [][]string{{"--http1.1"}, c.attach, c.bearer}, cases[:3]},
		{"HTTP/2, JWT-SVID", "2", [][]string{{"--http2"}, c.attach, c.bearer}, cases[:3]},
		{"HTTP/1.1, loopback", "1.1", [][]string{{"--http1.1"}, c.loopback, c.bearer}, cases[:5]},
		// RFC 9113 3.1 took the upgrade to HTTP/2 back: who asks for it is answered in HTTP/1.1.
		{"HTTP/1.1, loopback, offering h2c", "1.1", [][]string{{"--http2"}, c.loopback, c.bearer}, cases[:3]},
		{"HTTP/2 by prior knowledge, loopback", "2", [][]string{{"--http2-prior-knowledge"}, c.loopback, c.bearer}, cases},
		{"absolute form", "1.1", [][]string{{"--http1.1"}, c.proxy}, absolute},
	} {
		t.Run(way.name, func(t *testing.T) {
			for _, transfer := range way.cases {
				t.Run(transfer.name, func(t *testing.T) { c.do(t, way.version, slices.Concat(way.args...), &transfer) })
			}
		})
	}
}

func newCurl(t *testing.T, m *meshtest.Mesh, bin string, to place) *curl {
	t.Helper()
	cert, key := m.WriteSVID(t, "orchestrator")
	token := m.Token(t, "orchestrator", "onprem")
	g, at := m.Gateways["onprem-1"], fmt.Sprintf("%s:%d", to.host(), to.port)
	return &curl{
		m: m, bin: bin, url: at,
		mtls:     []string{"--cert", cert, "--key", key},
		bearer:   []string{"-H", "Authorization: Bearer " + token},
		attach:   []string{"--proto-default", "https", "--connect-to", at + ":" + g.AttachAddr().String(), "--cacert", m.CAFile(t, "onprem")},
		loopback: []string{"--proto-default", "http", "--connect-to", at + ":" + g.LoopbackAddr().String()},
		proxy:    []string{"--proto-default", "http", "-x", "http://jwt:" + token + "@" + g.LoopbackAddr().String()},
	}
}

// do makes one transfer.
func (c *curl) do(t *testing.T, version string, way []string, want *curlCase) {
	ctx, cancel := context.WithTimeout(c.m.Context, meshtest.Patience)
	defer cancel()
	dir := t.TempDir()
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	args := slices.Concat([]string{"-sS", "-D", head, "-o", body, "-w", "%{http_version} %{http_code} "}, way, want.args, []string{c.url + want.path})
	cmd := exec.CommandContext(ctx, c.bin, args...)
	cmd.Stdin = bytes.NewReader(want.stdin)
	out, code, err := ran(cmd)
	if err != nil || code != 0 || out != fmt.Sprintf("%s %d ", version, want.status) {
		t.Fatalf("curl ended with exit code %d, %v, and says %q, want version %s and status %d", code, err, out, version, want.status)
	}
	said := readFile(t, head)
	if !strings.Contains(strings.ToLower(said), want.says) {
		t.Errorf("%q is not in %q", want.says, said)
	}
	r := c.m.Record(t, lastField(said, "sallyport-crossing"))
	path, _, _ := strings.Cut(want.path, "?")
	if want.method == "OPTIONS" {
		path = "*"
	}
	if name := want.method + " " + path; r.GetOperation().GetName() != name || !r.GetAgree() || r.GetEgress().GetStatus() != want.status ||
		r.GetEgress().GetRequestBytes() != uint64(want.sent) || r.GetEgress().GetClose() != crossingv1.Cause_DONE {
		t.Errorf("record of %s: %v", name, r)
	}
	c.wantBody(t, body, want)
}

func (c *curl) wantBody(t *testing.T, file string, want *curlCase) {
	t.Helper()
	text := []byte(readFile(t, file))
	if want.method == "HEAD" || want.status == 416 {
		return
	}
	if strings.HasPrefix(want.path, "/large") {
		if string(text) != string(large[:16]) {
			t.Errorf("a part came as %q", text)
		}
		return
	}
	var h hit
	if err := json.Unmarshal(text, &h); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	sum := sha256.Sum256(large)
	if h.Method != want.method || h.Length != want.sent || h.Host != c.url || h.Broken != "" ||
		want.sent == int64(len(large)) && h.Sum != hex.EncodeToString(sum[:]) {
		t.Errorf("the destination took %+v", h)
	}
}

// TestCurlConnect has curl speak TLS of its own through the gateway, as a proxy.
func TestCurlConnect(t *testing.T) {
	bin := program(t, "curl", "apt-get install curl")
	l, port := listen(t)
	vault := place{"vault", "tcp", port}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Method, " ", n)
	}))
	srv.Listener.Close()
	srv.Listener = l
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	m := meshWith(t, nil, vault)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	g, token := m.Gateways["onprem-1"], m.Token(t, "orchestrator", "onprem")
	for _, proxy := range [][]string{
		{"-x", "http://jwt:" + token + "@" + g.LoopbackAddr().String()},
		{"-x", "https://" + g.AttachAddr().String(), "--proxy-header", "Proxy-Authorization: Bearer " + token, "--proxy-cacert", m.CAFile(t, "onprem")},
	} {
		head := filepath.Join(t.TempDir(), "head")
		args := append([]string{
			"-sS", "--max-time", "20", "--cacert", ca, "-D", head, "-w", " %{http_version}", "--data-binary", "@-",
			"--connect-to", fmt.Sprintf("example.com:443:%s:%d", vault.host(), vault.port), "https://example.com/",
		}, proxy...)
		cmd := exec.CommandContext(m.Context, bin, args...)
		cmd.Stdin = bytes.NewReader(large)
		if out, code, err := ran(cmd); err != nil || code != 0 || out != fmt.Sprintf("POST %d 2", len(large)) {
			t.Fatalf("curl ended with exit code %d, %v: %s", code, err, out)
		}
		r := m.Record(t, lastField(readFile(t, head), "sallyport-crossing"))
		if r.GetOperation().GetName() != "CONNECT" || r.GetEgress().GetContentSeen() || !r.GetAgree() || r.GetEgress().GetRequestBytes() < uint64(len(large)) {
			t.Errorf("record: %v", r)
		}
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) { // curl makes no file for no body
		t.Fatal(err)
	}
	return string(text)
}

// lastField is the value of the last field of that name in one or several heads.
func lastField(heads, name string) (value string) {
	for line := range strings.Lines(heads) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			value = strings.TrimSpace(v)
		}
	}
	return value
}
