package hostile

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// authField stands where a request shows who sends it, if its connection
	// does not.
	authField = "AUTH"
	postHead  = "POST /v1/chat/completions HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\n" + authField
	// smuggled stands behind every attack: a request that would cross, if
	// anybody took it for one.
	smuggled = "GET /v1/models HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\n" + authField + "\r\n"
)

// attack is what no gateway may pass on, and what comes of it.
type attack struct {
	name, raw string
	status    int // of the answer; 0 for none
	reason    crossingv1.Reason
	// known says that the head can be read, and with it who sends it.
	known bool
}

var attacks = []attack{
	{"both lengths", postHead + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"both lengths, the other way round", postHead + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"two lengths", postHead + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, crossingv1.Reason_MALFORMED, false},
	{"list of lengths", postHead + "Content-Length: 5, 6\r\n\r\nhello", 400, crossingv1.Reason_MALFORMED, false},
	{"signed length", postHead + "Content-Length: +5\r\n\r\nhello", 400, crossingv1.Reason_MALFORMED, false},
	{"negative length", postHead + "Content-Length: -1\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"two codings", postHead + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"unknown coding", postHead + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"coding behind another", postHead + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"bare line feeds", strings.ReplaceAll(postHead, "\r\n", "\n") + "\n", 400, crossingv1.Reason_MALFORMED, false},
	{"one bare line feed", postHead + "X: a\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"bare carriage return", postHead + "X: a\rContent-Length: 5\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"folded field", postHead + "X: a\r\n b\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"folded length", postHead + "Content-Length:\r\n 5\r\n\r\nhello", 400, crossingv1.Reason_MALFORMED, false},
	{"space before colon", postHead + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"NUL in a value", postHead + "X: a\x00b\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"two hosts", postHead + "Host: registry.aws.mesh\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"no host", "GET / HTTP/1.1\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"host beside another target", "GET http://llm.azure.mesh:8000/ HTTP/1.1\r\nHost: registry.aws.mesh\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"older version", "GET / HTTP/1.0\r\nHost: llm.azure.mesh\r\n\r\n", 505, crossingv1.Reason_MALFORMED, false},
	{"no version", "GET /\r\nHost: llm.azure.mesh\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"not HTTP", "\x00\x01\x02\x03\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"unknown expectation", postHead + "Expect: a-miracle\r\n\r\n", 417, crossingv1.Reason_MALFORMED, false},
	{"length announced as a trailer", postHead + "Transfer-Encoding: chunked\r\nTrailer: content-length\r\n\r\n0\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"oversized head", postHead + "X: " + strings.Repeat("a", 70<<10) + "\r\n\r\n", 431, crossingv1.Reason_TOO_LARGE, false},
	{"too many fields", postHead + strings.Repeat("X: a\r\n", 300) + "\r\n", 431, crossingv1.Reason_TOO_LARGE, false},
	{"oversized request line", "GET /" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\nHost: llm.azure.mesh\r\n\r\n", 414, crossingv1.Reason_TOO_LARGE, false},
	{"CONNECT with content", "CONNECT llm.azure.mesh:7000 HTTP/1.1\r\nHost: llm.azure.mesh:7000\r\nContent-Length: 5\r\n\r\nhello", 400, crossingv1.Reason_MALFORMED, false},
	{"CONNECT without a port", "CONNECT llm.azure.mesh HTTP/1.1\r\nHost: llm.azure.mesh\r\n\r\n", 400, crossingv1.Reason_MALFORMED, false},
	{"CONNECT to an unknown host", "CONNECT nobody.azure.mesh:443 HTTP/1.1\r\nHost: nobody.azure.mesh:443\r\n" + authField + "\r\n", 403, crossingv1.Reason_UNKNOWN_DESTINATION, true},
	{"CONNECT out of the mesh", "CONNECT 192.0.2.1:22 HTTP/1.1\r\nHost: 192.0.2.1:22\r\n" + authField + "\r\n", 403, crossingv1.Reason_UNKNOWN_DESTINATION, true},
	{"head that is cut off", postHead + "X: a", 0, crossingv1.Reason_MALFORMED, false},
}

// door is one way into the gateway.
type door struct {
	m    *meshtest.Mesh
	open func(t *testing.T, i meshtest.Intruder) net.Conn
	auth string // the field that shows who sends, if the connection does not
	url  string // of a good call
	via  *http.Client
	// told are the crossings that a caller was told of, or that are ours by
	// the caller's address: all that there may be.
	told map[string]bool
}

// TestHostileHTTP sends raw bytes that no gateway may pass on: to callers by
// mTLS each is a record of its own, to those that never came to say who they
// are it is a count.
func TestHostileHTTP(t *testing.T) {
	t.Parallel()
	t.Run("mTLS", func(t *testing.T) {
		m := meshtest.Start(t, nil)
		source, err := m.Source(m.Context, "orchestrator")
		if err != nil {
			t.Fatal(err)
		}
		config := certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "http/1.1")
		d := &door{m: m, url: meshtest.ChatURL, via: m.As(t, "orchestrator"), told: map[string]bool{}}
		d.open = func(t *testing.T, i meshtest.Intruder) net.Conn {
			return tls.Client(i.Dial(t, m.Gateways["onprem-1"].AttachAddr().String()), config)
		}
		d.besiege(t, true)
	})
	t.Run("loopback", func(t *testing.T) {
		m := meshtest.Start(t, nil)
		loopback := m.Gateways["onprem-1"].LoopbackAddr()
		transport := &http.Transport{DialContext: meshtest.DialTo(loopback)}
		t.Cleanup(transport.CloseIdleConnections)
		d := &door{
			m: m, url: "http://llm.azure.mesh:8000/v1/chat/completions", via: &http.Client{Transport: transport},
			auth: "Proxy-Authorization: Bearer " + m.Token(t, "orchestrator", "onprem") + "\r\n", told: map[string]bool{},
		}
		d.open = func(t *testing.T, i meshtest.Intruder) net.Conn { return i.Dial(t, loopback.String()) }
		d.besiege(t, false)
	})
}

// besiege makes all attacks, and a good call after each.
func (d *door) besiege(t *testing.T, known bool) {
	for n, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			conn := d.open(t, meshtest.Intruder(n+1))
			id := d.answer(t, conn, a)
			switch {
			case known || a.known:
				d.wantRecord(t, conn, a, id)
			case id != "":
				t.Errorf("the answer names crossing %q, and nobody knows whose", id)
			}
			d.cross(t)
		})
	}
	counted := map[string]uint64{}
	for n, a := range attacks {
		if !known && !a.known {
			d.wantRefusal(t, meshtest.Intruder(n+1), a)
			counted[meshtest.Intruder(n+1).Prefix()] = 1
		}
	}
	for _, r := range d.m.Refusals(t) {
		if p := r.GetRefusal().GetPrefix(); strings.HasPrefix(p, "127.9.") && r.GetRefusal().GetCount() != counted[p] {
			t.Errorf("counted %v, want a count of %d", r, counted[p])
		}
	}
	for id := range d.told {
		d.m.Record(t, id)
	}
	for _, r := range d.m.Crossings(t, &controlv1.ListCrossingsRequest{}) {
		if !d.told[r.GetId()] {
			t.Errorf("a crossing that nobody was told of: %v", r)
		}
	}
}

// answer sends an attack and reads to the connection's end. It gives the id of
// the crossing that the answer names.
func (d *door) answer(t *testing.T, conn net.Conn, a attack) string {
	t.Helper()
	raw := a.raw
	if a.status != 0 {
		raw += smuggled
	}
	go func() {
		io.WriteString(conn, strings.ReplaceAll(raw, authField, d.auth))
		if half, ok := conn.(interface{ CloseWrite() error }); ok && a.status == 0 {
			half.CloseWrite()
		}
	}()
	br := bufio.NewReader(conn)
	id := ""
	if a.status != 0 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body := meshtest.ReadAll(t, resp)
		said, err := meshtest.ReasonOf(body)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if resp.StatusCode != a.status || said != a.reason.String() {
			t.Errorf("answered with status %d, reason %s, want %d, %s", resp.StatusCode, said, a.status, a.reason)
		}
		id = resp.Header.Get("sallyport-crossing")
	}
	if rest, err := io.ReadAll(br); len(rest) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection goes on after it: %q, %v", rest, err)
	}
	return id
}

// wantRecord waits for the record of an attack, which is found by the address
// that it came from.
func (d *door) wantRecord(t *testing.T, conn net.Conn, a attack, id string) {
	t.Helper()
	addr := conn.LocalAddr().String()
	r := d.m.Follow(t, &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_DENY}, func(r *crossingv1.Record) bool {
		return r.GetEgress().GetPeer().GetAddress() == addr
	})
	d.told[r.GetId()] = true
	if a.status != 0 && id != r.GetId() {
		t.Errorf("the answer names crossing %q, the record is %q", id, r.GetId())
	}
	if r.GetState() != crossingv1.Record_DENIED || r.GetEgress().GetReason() != a.reason ||
		r.GetSource() != "spiffe://onprem.demo/ai/orchestrator" || r.GetIngress() != nil {
		t.Errorf("record: %v", r)
	}
}

func (d *door) wantRefusal(t *testing.T, i meshtest.Intruder, a attack) {
	t.Helper()
	r := d.m.Refusal(t, i)
	if r.GetGateway() != localmesh.GatewayID("onprem").String() || r.GetRefusal().GetListener() != "attach" ||
		r.GetRefusal().GetReason() != a.reason || r.GetRefusal().GetDetail() == "" {
		t.Errorf("%s was counted as %v, want %s", a.name, r, a.reason)
	}
}

// cross makes a good call at the same door.
func (d *door) cross(t *testing.T) {
	t.Helper()
	req, err := http.NewRequestWithContext(d.m.Context, http.MethodPost, d.url, strings.NewReader(meshtest.ChatBody))
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(strings.TrimSpace(d.auth), ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := d.via.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d of a good call: %s", resp.StatusCode, body)
	}
	d.told[resp.Header.Get("sallyport-crossing")] = true
}
