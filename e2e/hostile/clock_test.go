package hostile

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// A clock is one that made SVIDs, and is off. They last an hour.
type clock struct {
	name string
	off  time.Duration
	says string // of an X509-SVID, in the count of the refusal
}

var clocks = []clock{
	{"two hours behind", -3 * time.Hour, "expired 2h0m"},
	{"two hours ahead", 2*time.Hour + time.Minute, "check the clocks"},
}

// TestClockOffAtAttach shows SVIDs to the attach listeners whose dates are two
// hours away.
func TestClockOffAtAttach(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	onprem := m.Stolen(t, "onprem")
	for n, c := range clocks {
		i := meshtest.Intruder(10 * (n + 1))
		t.Run("X509-SVID "+c.name, func(t *testing.T) {
			onprem.NotBefore = c.off
			conn := tls.Client(i.Dial(t, m.Gateways["onprem-1"].AttachAddr().String()),
				meshtest.Stranger([]string{"http/1.1"}, onprem.Certificate(localmesh.ID("orchestrator"))))
			io.WriteString(conn, strings.ReplaceAll(smuggled, authField, "")) // the client believes that it is let in
			if answer, err := io.ReadAll(conn); len(answer) != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it was answered %q, %v, want a broken handshake", answer, err)
			}
			wantExpired(t, m, i, "attach", localmesh.GatewayID("onprem").String(), c.says)
			meshtest.WantCrossing(t, m)
		})
		t.Run("JWT-SVID "+c.name, func(t *testing.T) {
			onprem.NotBefore = c.off
			i++
			conn := i.Dial(t, m.Gateways["onprem-1"].LoopbackAddr().String())
			token := onprem.JWT("/ai/orchestrator", localmesh.GatewayID("onprem").String())
			io.WriteString(conn, strings.ReplaceAll(smuggled, authField, "Connection: close\r\nAuthorization: Bearer "+token+"\r\n"))
			wantProblem(t, conn, http.StatusUnauthorized, crossingv1.Reason_EXPIRED_IDENTITY)
			wantExpired(t, m, i, "attach", localmesh.GatewayID("onprem").String(), "SVID is expired or not yet valid")
			meshtest.WantCrossing(t, m)
		})
	}
	if got := m.Crossings(t, &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_DENY}); len(got) != 0 {
		t.Errorf("crossings without an identity: %v", got)
	}
}

// wantExpired waits for the count of an identity whose dates are not now.
func wantExpired(t *testing.T, m *meshtest.Mesh, i meshtest.Intruder, listener, at, says string) {
	t.Helper()
	r := m.Refusal(t, i)
	if r.GetGateway() != at || r.GetRefusal().GetListener() != listener || r.GetRefusal().GetCount() == 0 ||
		r.GetRefusal().GetReason() != crossingv1.Reason_EXPIRED_IDENTITY || !strings.Contains(r.GetRefusal().GetDetail(), says) {
		t.Errorf("counted as %v, want EXPIRED_IDENTITY, %q", r, says)
	}
}

// TestClockOffAtTheTunnel dials a gateway as one whose SVID is two hours away.
func TestClockOffAtTheTunnel(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	onprem := m.Stolen(t, "onprem")
	for n, c := range clocks {
		t.Run(c.name, func(t *testing.T) {
			onprem.NotBefore = c.off
			i := meshtest.Intruder(n + 1)
			conn := meshtest.Invade(t, m, i, meshtest.Stranger([]string{mux.ALPN}, onprem.Certificate(localmesh.GatewayID("onprem"))))
			conn.Write(mux.AppendPreface(nil, meshtest.TunnelSettings)) // the client believes that it is let in
			if answer, err := io.ReadAll(conn); len(answer) != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it was answered %d bytes, %v, want a broken handshake", len(answer), err)
			}
			meshtest.WantCounted(t, m, i, crossingv1.Reason_EXPIRED_IDENTITY, c.says)
			meshtest.WantCrossing(t, m)
		})
	}
}

// TestClockOffAtThePeer has onprem's gateway dial one whose SVID is two hours
// away: it is not believed, and calls to it are refused and recorded.
func TestClockOffAtThePeer(t *testing.T) {
	t.Parallel()
	for _, c := range clocks {
		t.Run(c.name, func(t *testing.T) {
			m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.External = []string{"azure-1"} })
			azure := m.Stolen(t, "azure")
			azure.NotBefore = c.off
			config := meshtest.Stranger([]string{mux.ALPN}, azure.Certificate(localmesh.GatewayID("azure")))
			config.ClientAuth = tls.RequireAnyClientCert
			l, err := tls.Listen("tcp", m.Started(t, "azure-1").GetTunnel(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go handshakes(l)
			resp := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), false, nil)
			body := meshtest.ReadAll(t, resp)
			if said, err := meshtest.ReasonOf(body); err != nil || resp.StatusCode != http.StatusServiceUnavailable || said != "UNREACHABLE" || !strings.Contains(string(body), "owner ml-platform") {
				t.Errorf("status %d: %s", resp.StatusCode, body)
			}
			if r := m.Record(t, resp.Header.Get("sallyport-crossing")); r.GetState() != crossingv1.Record_REFUSED || r.GetEgress().GetReason() != crossingv1.Reason_UNREACHABLE ||
				!strings.Contains(r.GetEgress().GetDetail(), c.says) {
				t.Errorf("record: %v", r)
			}
			awaitExpiredPeer(t, m, c.says)
		})
	}
}

// handshakes makes the handshakes of a listener, and no more.
func handshakes(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(io.Discard, conn)
		}()
	}
}

func awaitExpiredPeer(t *testing.T, m *meshtest.Mesh, says string) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond) // a gateway tells of each second when it is over
	defer ticker.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-ticker.C {
		all := m.Refusals(t)
		for _, r := range all {
			if r.GetGateway() == localmesh.GatewayID("onprem").String() && r.GetRefusal().GetListener() == "tunnel" &&
				r.GetRefusal().GetReason() == crossingv1.Reason_EXPIRED_IDENTITY && strings.Contains(r.GetRefusal().GetDetail(), says) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the peer was not counted as expired: %v", all)
		}
	}
}

// TestClockOffAtTheControlPlane calls the control plane's API with SVIDs that
// are two hours away.
func TestClockOffAtTheControlPlane(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	onprem := m.Stolen(t, "onprem")
	at := m.Started(t, "onprem-1").GetControlPlane().GetAddress()
	for n, c := range clocks {
		t.Run(c.name, func(t *testing.T) {
			onprem.NotBefore = c.off
			i := meshtest.Intruder(n + 1)
			creds := credentials.NewTLS(meshtest.Stranger([]string{"h2"}, onprem.Certificate(localmesh.GatewayID("onprem"))))
			conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(creds), grpc.WithContextDialer(i.DialContext))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := hand(t, conn); status.Code(err) != codes.Unavailable {
				t.Errorf("Deliver() = %v, want UNAVAILABLE", err)
			}
			wantExpired(t, m, i, "control", localmesh.ID("controlplane").String(), c.says)
			meshtest.WantCrossing(t, m)
		})
	}
}

// TestClockOffAtHome keeps a source of SVIDs that is two hours behind: whoever
// has it shows nothing to others, and says what is wrong.
func TestClockOffAtHome(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	onprem := m.Stolen(t, "onprem")
	source := onprem.Source("/ai/orchestrator")
	onprem.NotBefore = -3 * time.Hour
	onprem.Rotate(source)
	_, err := tls.Dial("tcp", m.Gateways["onprem-1"].AttachAddr().String(),
		certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "http/1.1"))
	if !errors.Is(err, certs.ErrExpired) || !strings.Contains(err.Error(), "expired 2h0m") {
		t.Errorf("Dial() = %v, want %v", err, certs.ErrExpired)
	}
	meshtest.WantCrossing(t, m)
}
