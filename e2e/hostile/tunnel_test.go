package hostile

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestHostilePeers holds those who are not let in, each with the reason that is
// counted.
func TestHostilePeers(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	onprem, azure := m.Stolen(t, "onprem"), m.Stolen(t, "azure")
	lookalike := certstest.Mesh(t, "onprem.demo", "nowhere.demo")
	self := localmesh.GatewayID("onprem")
	this := []string{mux.ALPN}
	preface := mux.AppendPreface(nil, meshtest.TunnelSettings)
	old := append([]byte(nil), preface...)
	old[8] = 0 // the version
	cases := []struct {
		name   string
		config *tls.Config // nil: no TLS
		send   []byte
		reason crossingv1.Reason
		detail string
	}{
		{"no TLS", nil, []byte("GET / HTTP/1.1\r\n\r\n"), crossingv1.Reason_MALFORMED, "TLS handshake"},
		{"nothing", nil, nil, crossingv1.Reason_NO_IDENTITY, "TLS handshake"},
		{"no certificate", meshtest.Stranger(this), nil, crossingv1.Reason_NO_IDENTITY, "TLS handshake"},
		{
			"a gateway that the policy does not name", meshtest.Stranger(this, onprem.Certificate(onprem.ID("/sallyport/gateway/onprem-9"))), nil,
			crossingv1.Reason_UNKNOWN_PEER, "spiffe://onprem.demo/sallyport/gateway/onprem-9",
		},
		{
			"a workload", meshtest.Stranger(this, onprem.Certificate(localmesh.ID("orchestrator"))), nil,
			crossingv1.Reason_UNKNOWN_PEER, "spiffe://onprem.demo/ai/orchestrator",
		},
		{
			"the gateway itself", meshtest.Stranger(this, azure.Certificate(localmesh.GatewayID("azure"))), nil,
			crossingv1.Reason_UNKNOWN_PEER, "spiffe://azure.demo/sallyport/gateway/azure-1",
		},
		{"another root", meshtest.Stranger(this, lookalike["onprem.demo"].Certificate(self)), nil, crossingv1.Reason_BAD_IDENTITY, self.String()},
		{"another trust domain's root", meshtest.Stranger(this, azure.Certificate(self)), nil, crossingv1.Reason_BAD_IDENTITY, self.String()},
		{
			"a trust domain that nobody knows", meshtest.Stranger(this, lookalike["nowhere.demo"].Certificate(spiffeid.RequireFromString("spiffe://nowhere.demo/sallyport/gateway/onprem-1"))), nil,
			crossingv1.Reason_BAD_IDENTITY, "spiffe://nowhere.demo",
		},
		{"an older ALPN protocol", meshtest.Stranger([]string{"sallyport/0"}, onprem.Certificate(self)), nil, crossingv1.Reason_MALFORMED, "sallyport/0"},
		{"no ALPN protocol", meshtest.Stranger(nil, onprem.Certificate(self)), nil, crossingv1.Reason_MALFORMED, "sallyport/1"},
		{"a preface that is none", meshtest.Stranger(this, onprem.Certificate(self)), make([]byte, mux.PrefaceLen), crossingv1.Reason_MALFORMED, mux.BadPreface.String()},
		{"an older preface", meshtest.Stranger(this, onprem.Certificate(self)), old, crossingv1.Reason_MALFORMED, "version 0"},
		{"a preface that is cut off", meshtest.Stranger(this, onprem.Certificate(self)), preface[:9], crossingv1.Reason_MALFORMED, "cut off after 9 bytes"},
	}
	for n, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			i := meshtest.Intruder(n + 1)
			var conn net.Conn
			if c.config == nil {
				conn = i.Dial(t, m.Started(t, "azure-1").GetTunnel())
			} else {
				conn = meshtest.Invade(t, m, i, c.config)
			}
			conn.Write(c.send) // makes the handshake, whose outcome is read below
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
			}
			answer, err := io.ReadAll(conn)
			if len(answer) > mux.PrefaceLen || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it was answered %d bytes, %v", len(answer), err)
			}
		})
	}
	for n, c := range cases {
		meshtest.WantCounted(t, m, meshtest.Intruder(n+1), c.reason, c.detail)
	}
	meshtest.WantCrossing(t, m)
}

// TestHostileFrames ends tunnels of a peer that breaks the protocol after a good
// handshake. The tunnel of the true gateway of that very name goes on.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	open := mux.AppendOpen(nil, 1, nil)
	// Beyond the window of 256 KiB that a stream has here, and the one it may grow
	// to, in many streams: who throws content away may keep up with one of them.
	var flood []byte
	run := crossing.NewRun()
	for n := range uint32(64) {
		flood = mux.AppendOpen(flood, 2*n+1, headless(run, uint64(n+1)))
		for range 9 {
			flood = mux.AppendData(flood, 2*n+1, make([]byte, mux.MaxPayload), false)
		}
	}
	cases := []struct {
		name string
		send []byte
		want mux.Reason
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), mux.UnknownType},
		{"noise", []byte(strings.Repeat("\xff", 4096)), mux.UnknownType},
		{"flags that there are not", []byte{2, 2, 0, 0, 0, 0, 0, 1}, mux.ReservedFlags},
		{"length that a frame cannot have", []byte{4, 0, 0, 5, 0, 0, 0, 1}, mux.BadLength},
		{"header that does not decode", mux.AppendOpen(nil, 1, []byte{0xff}), mux.BadHeader},
		{"data on the tunnel itself", mux.AppendData(nil, 0, []byte("x"), false), mux.BadStream},
		{"data on a stream never opened", mux.AppendData(nil, 1, []byte("x"), false), mux.UnknownStream},
		{"wrong parity", mux.AppendOpen(nil, 2, nil), mux.BadParity},
		{"number used again", append(append([]byte(nil), open...), open...), mux.StreamReuse},
		{"number left out", mux.AppendOpen(nil, 3, nil), mux.UnknownStream},
		{"credit of nothing", mux.AppendWindow(nil, 0, 0), mux.BadCredit},
		{"credit beyond all windows", mux.AppendWindow(mux.AppendWindow(nil, 0, mux.MaxWindow), 0, mux.MaxWindow), mux.BadCredit},
		{"data beyond the window", flood, mux.WindowExceeded},
		{"goaway of streams never opened", mux.AppendGoAway(nil, 8, mux.Closed), mux.BadGoAway},
		{"cut off in a frame's head", []byte{2, 0, 0}, mux.Truncated},
		{"cut off in a frame's payload", mux.AppendOpen(nil, 1, make([]byte, 9))[:12], mux.Truncated},
	}
	for n, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := meshtest.Admitted(t, m, meshtest.Intruder(n+1))
			_, err := conn.Write(c.send)
			if err == nil && c.want == mux.Truncated {
				conn.CloseWrite()
			}
			got := meshtest.GoAway(t, conn)
			if c.want == mux.WindowExceeded {
				got, err = cutOff(got, c.want, err)
			}
			if err != nil || got != c.want {
				t.Errorf("GOAWAY says %q after %v, want %q", got, err, c.want)
			}
			meshtest.WantCrossing(t, m)
		})
	}
	for n, c := range cases {
		meshtest.WantCounted(t, m, meshtest.Intruder(n+1), crossingv1.Reason_MALFORMED, c.want.String())
	}
}

// cutOff takes away what is to be expected of a peer that is cut off with much unsent.
// The gateway closes with content unread, so a reset follows what it said (RFC 9293,
// 3.10.7.4): the write fails with that, or as one to a pipe that is broken if the
// gateway's end of the stream came before it. The reset may also have dropped the
// GOAWAY, which then says nothing: its reason is held by what the gateway counts.
func cutOff(got, want mux.Reason, err error) (mux.Reason, error) {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	if got == 0 {
		got = want
	}
	return got, err
}

// TestPeerBreaksOff begins a frame, says no more, and is then gone without a
// word of TLS, as when its machine is: good crossings go on.
func TestPeerBreaksOff(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	conn := meshtest.Admitted(t, m, 1)
	if _, err := conn.Write([]byte{2, 0}); err != nil {
		t.Fatal(err)
	}
	meshtest.WantCrossing(t, m)
	conn.NetConn().Close()
	meshtest.WantCrossing(t, m)
}
