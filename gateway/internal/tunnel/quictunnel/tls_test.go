package quictunnel

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

func TestTunnelOverUDP(t *testing.T) {
	near, far := configs(t, carrier.Limits{})
	dialled, accepted := systemPair(t, near, far)
	x, y := tunneltest.Streams(t, dialled, accepted)
	tunneltest.Write(t, x, "question")
	tunneltest.WantRead(t, y, "question")
	for _, tt := range []struct {
		name   string
		info   tunnel.Info
		peer   string
		dialed bool
	}{
		{"dialled", dialled.Info(), "spiffe://azure.demo" + gatewayPath, true},
		{"accepted", accepted.Info(), "spiffe://aws.demo" + gatewayPath, false},
	} {
		i := tt.info
		if i.Peer.String() != tt.peer || i.Dialed != tt.dialed || i.Carrier != "QUIC" || i.Streams != 1 || i.Certificate == nil {
			t.Errorf("%s: Info() = %+v", tt.name, i)
		}
		if i.TLS != "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256" {
			t.Errorf("%s: TLS is %q", tt.name, i.TLS)
		}
	}
}

// TestOneSocket: several tunnels share a socket, those of a listener as well as
// those which its own dialler dials, and it closes with the last of them.
func TestOneSocket(t *testing.T) {
	near, far := configs(t, carrier.Limits{})
	a, b := listen(t, near), listen(t, far)
	dialer := a.Dialer()
	var all []tunnel.Tunnel
	for range 3 {
		dialled, err := dialer.Dial(t.Context(), b.Addr().String(), far.Source.ID(), tunnel.Bulk)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := b.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		from := accepted.(*conn).qc.RemoteAddr().(*net.UDPAddr).Port
		if own := a.Addr().(*net.UDPAddr).Port; from != own {
			t.Errorf("dialled from port %d, want the listener's own, %d", from, own)
		}
		if accepted.Info().Class != tunnel.Bulk {
			t.Error("the class did not arrive")
		}
		all = append(all, dialled, accepted)
	}
	a.Close()
	b.Close()
	x, y := tunneltest.Streams(t, all[0], all[1])
	tunneltest.Write(t, x, "tunnels outlive their listener")
	tunneltest.WantRead(t, y, "tunnels outlive their listener")
	for _, tun := range all {
		tun.Close()
	}
	again, err := net.ListenUDP("udp", a.Addr().(*net.UDPAddr))
	if err != nil {
		t.Fatalf("the socket is still open: %v", err)
	}
	again.Close()
}

func TestSlowPeersHoldUpNobody(t *testing.T) {
	near, far := configs(t, carrier.Limits{})
	l := listen(t, far)
	h := &handshake{cfg: &near, role: mux.Dialler, want: far.Source.ID()}
	for range 20 { // they are let in and say nothing
		if _, err := rawDial(t, l.Addr(), h.tls()); err != nil {
			t.Fatal(err)
		}
	}
	tun, err := NewDialer(near).Dial(t.Context(), l.Addr().String(), far.Source.ID(), tunnel.Interactive)
	if err != nil {
		t.Fatalf("Dial beside slow peers: %v", err)
	}
	tun.Close()
}

func TestHandshakesAreBounded(t *testing.T) {
	near, far := configs(t, carrier.Limits{Handshakes: 2})
	l := listen(t, far)
	h := &handshake{cfg: &near, role: mux.Dialler, want: far.Source.ID()}
	quiet := func() { // it is let in and says nothing
		if _, err := rawDial(t, l.Addr(), h.tls()); err != nil {
			t.Fatal(err)
		}
	}
	quiet()
	tun, err := NewDialer(near).Dial(t.Context(), l.Addr().String(), far.Source.ID(), tunnel.Interactive)
	if err != nil {
		t.Fatalf("Dial of a listener that asks for proof of the address: %v", err)
	}
	tun.Close()
	quiet()
	_, err = NewDialer(near).Dial(t.Context(), l.Addr().String(), far.Source.ID(), tunnel.Interactive)
	var refused *quic.TransportError
	if !errors.As(err, &refused) || refused.ErrorCode != quic.ConnectionRefused {
		t.Errorf("Dial of a listener without a slot: %v, want CONNECTION_REFUSED", err)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer, Limits: carrier.Limits{HandshakeTimeout: 200 * time.Millisecond}}
	l := listen(t, far)
	qc, err := rawDial(t, l.Addr(), rawTLS([]string{ALPN}, mesh["aws.demo"].Certificate(mesh["aws.demo"].ID(gatewayPath))))
	if err != nil {
		t.Fatal(err)
	}
	<-qc.Context().Done() // it sent no preface
}

func TestTunnelEndsWhenThePeerIsDistrusted(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	near := carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer}
	far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer}
	dialled, accepted := systemPair(t, near, far)
	mesh["azure.demo"].Trust(mesh["aws.demo"].Bundle()) // a change that changes nothing
	x, y := tunneltest.Streams(t, dialled, accepted)
	tunneltest.Write(t, x, "still trusted")
	tunneltest.WantRead(t, y, "still trusted")
	mesh["azure.demo"].Distrust("aws.demo")
	<-accepted.Done()
	<-dialled.Done()
	if err := dialled.lost(); !strings.Contains(err.Error(), mux.Identity.String()) {
		t.Errorf("the peer was told %v", err)
	}
	_, err := x.Read(make([]byte, 1))
	tunneltest.WantReset(t, err, tunnel.TunnelClosed, false)
}

func TestListenerClose(t *testing.T) {
	near, far := configs(t, carrier.Limits{})
	l := listen(t, far)
	h := &handshake{cfg: &near, role: mux.Dialler, want: far.Source.ID()}
	qc, err := rawDial(t, l.Addr(), h.tls()) // a handshake under way
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	<-qc.Context().Done()
	if _, err := l.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want net.ErrClosed", err)
	}
	if _, err := Listen("127.0.0.1:-1", carrier.Config{}); err == nil {
		t.Error("Listen at an impossible port succeeded")
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	near, far := configs(t, carrier.Limits{})
	mute, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := NewDialer(near).Dial(ctx, mute.LocalAddr().String(), far.Source.ID(), tunnel.Interactive); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial: %v, want the context's error", err)
	}
}

func TestDialByName(t *testing.T) {
	near, far := configs(t, carrier.Limits{})
	l, err := Listen(":0", far)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	tun, err := NewDialer(near).Dial(t.Context(), net.JoinHostPort("localhost", port), far.Source.ID(), tunnel.Interactive)
	if err != nil {
		t.Fatalf("Dial by name: %v", err)
	}
	tun.Close()
	for _, bad := range []string{"nowhere", "localhost:no-such-port"} {
		if _, err := NewDialer(near).Dial(t.Context(), bad, far.Source.ID(), tunnel.Interactive); err == nil {
			t.Errorf("Dial(%q) succeeded", bad)
		}
	}
}
