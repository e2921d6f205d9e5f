package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// dialPort connects to a port as a workload.
func dialPort(t *testing.T, m *meshtest.Mesh, i int, workload string) *tls.Conn {
	t.Helper()
	return dialPortAt(t, m, meshtest.PortOf(m, i), workload)
}

// dialPortAt connects to the port at an address as a workload.
func dialPortAt(t *testing.T, m *meshtest.Mesh, address, workload string) *tls.Conn {
	t.Helper()
	source, err := m.Source(m.Context, workload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := new(net.Dialer).DialContext(m.Context, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	if err := raw.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	return tls.Client(raw, certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem"))))
}

// serveTCP serves the llm's raw service until the test ends.
func serveTCP(t *testing.T, m *meshtest.Mesh, service string, serve func(*net.TCPConn)) {
	t.Helper()
	if err := m.Register(m.Context, "llm", map[string]string{service: listenTCP(t, serve)}); err != nil {
		t.Fatal(err)
	}
}

// listenTCP serves until the test ends, at the address that it gives.
func listenTCP(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

// of waits for the whole record of the only crossing to an authority.
func of(t *testing.T, m *meshtest.Mesh, authority string) *crossingv1.Record {
	t.Helper()
	return m.Follow(t, &controlv1.ListCrossingsRequest{}, func(r *crossingv1.Record) bool {
		return r.GetOperation().GetAuthority() == authority && meshtest.Whole(r)
	})
}

// after waits for the whole record of the only crossing since then.
func after(t *testing.T, m *meshtest.Mesh, since time.Time) *crossingv1.Record {
	t.Helper()
	return m.Follow(t, &controlv1.ListCrossingsRequest{Since: timestamppb.New(since)}, meshtest.Whole)
}

// TestPort sends raw bytes through a mapped port: the caller ends first, and
// still gets all of the answer.
func TestPort(t *testing.T) {
	t.Parallel()
	m := meshtest.WithPorts(t, policyWith(t, connectIntent), "llm.azure.mesh:7000")
	serveTCP(t, m, "vectors", func(c *net.TCPConn) {
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		fmt.Fprintf(c, "%d bytes", n)
	})
	c := dialPort(t, m, 0, "orchestrator")
	const size = 3 << 20
	if _, err := io.CopyN(c, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || string(answer) != fmt.Sprint(size, " bytes") {
		t.Errorf("answer %q, %v", answer, err)
	}
	r := of(t, m, "llm.azure.mesh:7000")
	if r.GetState() != crossingv1.Record_JOINED || r.GetOperation().GetName() != "CONNECT" || r.GetEgress().GetContentSeen() ||
		r.GetEgress().GetRequestBytes() != size || r.GetEgress().GetPeer().GetAttach() != crossingv1.Attach_MTLS ||
		r.GetSource() != localmesh.ID("orchestrator").String() || r.GetEgress().GetIntent() != "raw-vectors" ||
		r.GetEgress().GetClose() != crossingv1.Cause_DONE || r.GetIngress().GetClose() != crossingv1.Cause_DONE {
		t.Errorf("record: %v", r)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestPortCarriesHTTP: what is spoken on a port is the two ends' own affair.
func TestPortCarriesHTTP(t *testing.T) {
	t.Parallel()
	m := meshtest.WithPorts(t, policyWith(t, connectIntent), "llm.azure.mesh:7000")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	t.Cleanup(srv.Close)
	if err := m.Register(m.Context, "llm", map[string]string{"vectors": srv.Listener.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return dialPort(t, m, 0, "orchestrator"), nil
	}}
	for range 3 { // on one connection
		resp, err := (&http.Client{Transport: transport}).Get("http://any.example/")
		if err != nil {
			t.Fatal(err)
		}
		if body := meshtest.ReadAll(t, resp); string(body) != "any.example" {
			t.Errorf("answer %q", body)
		}
	}
	transport.CloseIdleConnections()
	if r := of(t, m, "llm.azure.mesh:7000"); !r.GetAgree() {
		t.Errorf("record: %v", r)
	}
}

// TestPortRefused: a crossing that may not happen breaks the connection, and has
// its record.
func TestPortRefused(t *testing.T) {
	t.Parallel()
	m := meshtest.WithPorts(t, policyWith(t, connectIntent), "llm.azure.mesh:7000", "nobody.azure.mesh:1", "llm.azure.mesh:1", "registry.aws.mesh:5000")
	for i, want := range []struct {
		authority, owner string
		reason           crossingv1.Reason
		state            crossingv1.Record_State
	}{
		{"llm.azure.mesh:7000", "ml-platform", crossingv1.Reason_UNREACHABLE, crossingv1.Record_JOINED}, // it is nowhere
		{"nobody.azure.mesh:1", "datacenter-team", crossingv1.Reason_UNKNOWN_DESTINATION, crossingv1.Record_DENIED},
		{"llm.azure.mesh:1", "ml-platform", crossingv1.Reason_UNKNOWN_SERVICE, crossingv1.Record_DENIED},
		{"registry.aws.mesh:5000", "search-team", crossingv1.Reason_NO_INTENT, crossingv1.Record_DENIED},
	} {
		t.Run(want.reason.String(), func(t *testing.T) {
			c := dialPort(t, m, i, "orchestrator")
			if n, err := io.Copy(io.Discard, c); err == nil || n > 0 {
				t.Errorf("the caller got %d bytes and %v, want a broken connection", n, err)
			}
			r := of(t, m, want.authority)
			if r.GetEgress().GetReason() != want.reason || r.GetState() != want.state || r.GetTransition().GetOwner() != want.owner ||
				r.GetSource() != localmesh.ID("orchestrator").String() {
				t.Errorf("record: %v", r)
			}
		})
	}
	rejectedNothing(t, m)
}

// TestPortIdentity: who has no identity of the environment has no crossing, and
// is counted.
func TestPortIdentity(t *testing.T) {
	t.Parallel()
	m := meshtest.WithPorts(t, policyWith(t, connectIntent), "llm.azure.mesh:7000")
	expired := m.Stolen(t, "onprem")
	expired.NotBefore = -2 * time.Hour
	foreign := m.Stolen(t, "azure")
	for i, c := range []struct {
		name  string
		certs []tls.Certificate
		want  crossingv1.Reason
	}{
		{"none", nil, crossingv1.Reason_NO_IDENTITY},
		{"foreign", []tls.Certificate{foreign.Certificate(localmesh.ID("llm"))}, crossingv1.Reason_FOREIGN_IDENTITY},
		{"expired", []tls.Certificate{expired.Certificate(localmesh.ID("orchestrator"))}, crossingv1.Reason_EXPIRED_IDENTITY},
	} {
		t.Run(c.name, func(t *testing.T) {
			intruder := meshtest.Intruder(100 + i)
			config := m.TrustOnly(t, "onprem")
			config.ServerName, config.Certificates = "localhost", c.certs
			if _, err := io.Copy(io.Discard, tls.Client(intruder.Dial(t, meshtest.PortOf(m, 0)), config)); err == nil {
				t.Error("the port let the caller in")
			}
			if got := m.Refusal(t, intruder).GetRefusal(); got.GetReason() != c.want || got.GetListener() != "attach" {
				t.Errorf("refusal: %v", got)
			}
		})
	}
	if all := m.Crossings(t, &controlv1.ListCrossingsRequest{}); len(all) > 0 {
		t.Errorf("crossings of nobody: %v", all)
	}
}

// TestPortHandedOver: a gateway that is restarted hands its ports over. Who is
// connected goes on with the old process, and who connects has the new one.
func TestPortHandedOver(t *testing.T) {
	t.Parallel()
	port := fmt.Sprint("127.0.0.1:", freePort(t))
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy, cfg.External = policyWith(t, connectIntent), []string{"onprem-1"}
		cfg.Bootstrap = func(b *configv1.Bootstrap) {
			if b.GetGateway() == "onprem-1" {
				b.Ports = []*configv1.Port{{Listen: port, To: "llm.azure.mesh:7000"}}
			}
		}
	})
	serveTCP(t, m, "vectors", func(c *net.TCPConn) {
		defer c.Close()
		_, _ = io.Copy(c, c) // whatever ends it ends the caller's side too
	})
	unit := startUnit(t, m, "onprem-1")
	before := awaitEcho(t, m, port, "orchestrator")
	unit.reload(t)
	after := dialPortAt(t, m, port, "orchestrator")
	echo(t, before, "still")
	if old := unit.earlier(); len(old) != 1 {
		t.Errorf("processes before the main one: %v, want the one that has an open stream", old)
	}
	for _, c := range []*tls.Conn{before, after} {
		echo(t, c, "after")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("at the end %q, %v", rest, err)
		}
	}
	ended := map[string]bool{}
	m.Follow(t, &controlv1.ListCrossingsRequest{}, func(r *crossingv1.Record) bool {
		if r.GetState() == crossingv1.Record_JOINED && r.GetAgree() && r.GetEgress().GetClose() == crossingv1.Cause_DONE {
			ended[r.GetId()] = true
		}
		return len(ended) == 2
	})
}

// echo says something to a destination that says it again.
func echo(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if err := echoes(c, text); err != nil {
		t.Fatal(err)
	}
}

func echoes(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	said := make([]byte, len(text))
	if _, err := io.ReadFull(c, said); err != nil {
		return err
	}
	if string(said) != text {
		return fmt.Errorf("echo %q, want %q", said, text)
	}
	return nil
}

// awaitEcho waits until a port's gateway reaches its destination, which echoes.
func awaitEcho(t *testing.T, m *meshtest.Mesh, address, workload string) *tls.Conn {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ; <-ticker.C {
		up, err := net.Dial("tcp", address)
		if err == nil {
			up.Close()
			c := dialPortAt(t, m, address, workload)
			if err = echoes(c, "up?"); err == nil {
				return c
			}
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
