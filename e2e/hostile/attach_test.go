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

// TestHostileStart holds what does not even come to a request: it is counted,
// and the gateway goes on.
func TestHostileStart(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	attach, loopback := m.Gateways["onprem-1"].AttachAddr(), m.Gateways["onprem-1"].LoopbackAddr()
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	const goaway = "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	cases := []struct {
		name   string
		to     net.Addr
		raw    string
		says   string            // stands in the answer
		reason crossingv1.Reason // as counted; none where HTTP/2's library ends a connection and tells nobody
	}{
		{"HTTP to the port that speaks TLS", attach, postHead + "\r\n", "HTTP/1.1 400 ", crossingv1.Reason_MALFORMED},
		{"noise to the port that speaks TLS", attach, strings.Repeat("\x00\xff", 64), "", crossingv1.Reason_MALFORMED},
		{"handshake that is cut off", attach, "\x16\x03\x01\x02\x00\x01", "", crossingv1.Reason_NO_IDENTITY},
		{"preface that is none", loopback, "PRI * HTTP/9.9\r\n\r\nSM\r\n\r\n", "", crossingv1.Reason_MALFORMED},
		{"frame that no connection may send", loopback, preface + settings + "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00", "", crossingv1.Reason_MALFORMED},
		{"oversized frame", loopback, preface + settings + "\xff\xff\xff\x00\x00\x00\x00\x00\x01", goaway + "\x00\x00\x00\x06", crossingv1.Reason_REASON_UNSPECIFIED},
		{"head that does not decompress", loopback, preface + settings + "\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff", goaway + "\x00\x00\x00\x09", crossingv1.Reason_REASON_UNSPECIFIED},
	}
	for n, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := meshtest.Intruder(n+1).Dial(t, c.to.String())
			go func() {
				io.WriteString(conn, strings.ReplaceAll(c.raw, authField, ""))
				conn.(*net.TCPConn).CloseWrite()
			}()
			answer, err := io.ReadAll(conn)
			if !strings.Contains(string(answer), c.says) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("answered with %q, %v, want %q", answer, err, c.says)
			}
			meshtest.WantCrossing(t, m)
		})
	}
	for n, c := range cases {
		if c.reason == crossingv1.Reason_REASON_UNSPECIFIED {
			continue
		}
		r := m.Refusal(t, meshtest.Intruder(n+1))
		if r.GetRefusal().GetReason() != c.reason || r.GetRefusal().GetListener() != "attach" || r.GetRefusal().GetDetail() == "" {
			t.Errorf("%s was counted as %v, want %s", c.name, r, c.reason)
		}
	}
}

// TestHostileBody sends heads that may cross, and bodies that break off or are
// no bodies. The far workload must not take such a request for whole.
func TestHostileBody(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	config := certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "http/1.1")
	chunked := strings.ReplaceAll(postHead, authField, "") + "Transfer-Encoding: chunked\r\n\r\n"
	for n, c := range []struct {
		name, raw string
		status    int // 0: the caller is gone, and hears nothing
		cause     crossingv1.Cause
		reason    crossingv1.Reason
	}{
		{"chunk without a size", chunked + "\r\n", 400, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED},
		{"chunk size that is none", chunked + "0x5\r\nhello\r\n0\r\n\r\n", 400, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED},
		{"chunk size of more than 63 bits", chunked + "fffffffffffffffff\r\n", 400, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED},
		{"chunk size with a bare line feed", chunked + "5\nhello\r\n0\r\n\r\n", 400, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED},
		{"chunk that is longer than it says", chunked + "5\r\nhello world\r\n0\r\n\r\n", 400, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED},
		{"chunk extension without end", chunked + "5;" + strings.Repeat("a", 8<<10) + "\r\n", 431, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_TOO_LARGE},
		{"length in the trailers", chunked + "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", 400, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_MALFORMED},
		{"oversized trailers", chunked + "0\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1<<10)+"\r\n", 20) + "\r\n", 431, crossingv1.Cause_PROTOCOL_ERROR, crossingv1.Reason_TOO_LARGE},
		{"chunk that is cut off", chunked + "5\r\nhel", 0, crossingv1.Cause_CALLER_GONE, crossingv1.Reason_REASON_UNSPECIFIED},
		{"body that is cut off", strings.ReplaceAll(postHead, authField, "") + "Content-Length: 100\r\n\r\nhello", 0, crossingv1.Cause_CALLER_GONE, crossingv1.Reason_REASON_UNSPECIFIED},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := tls.Client(meshtest.Intruder(n+1).Dial(t, m.Gateways["onprem-1"].AttachAddr().String()), config)
			if _, err := io.WriteString(conn, c.raw); err != nil {
				t.Fatal(err)
			}
			addr := conn.LocalAddr().String()
			if c.status == 0 {
				conn.Close()
			} else {
				wantProblem(t, conn, c.status, c.reason)
			}
			r := m.Follow(t, &controlv1.ListCrossingsRequest{}, func(r *crossingv1.Record) bool {
				return r.GetEgress().GetPeer().GetAddress() == addr && meshtest.Whole(r)
			})
			if r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() || r.GetEgress().GetReason() != c.reason || r.GetEgress().GetClose() != c.cause {
				t.Errorf("record: %v", r)
			}
			// A reset takes back the head that went before it, if that was not read yet.
			if far := r.GetIngress().GetClose(); far != c.cause && far != crossingv1.Cause_REFUSED {
				t.Errorf("the far gateway saw the end as %s, want %s", far, c.cause)
			}
			meshtest.WantCrossing(t, m)
		})
	}
}

// wantProblem reads one problem, and then the connection's end.
func wantProblem(t *testing.T, conn net.Conn, status int, reason crossingv1.Reason) {
	t.Helper()
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Errorf("no answer: %v", err)
		return
	}
	body := meshtest.ReadAll(t, resp)
	if said, err := meshtest.ReasonOf(body); err != nil || resp.StatusCode != status || said != reason.String() {
		t.Errorf("answered with status %d, %s, want %d, %s", resp.StatusCode, body, status, reason)
	}
	if rest, err := io.ReadAll(br); len(rest) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection goes on after it: %q, %v", rest, err)
	}
}
