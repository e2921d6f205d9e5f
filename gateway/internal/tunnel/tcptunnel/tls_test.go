package tcptunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// patience bounds what a test waits for outside of a bubble; it is reached only
// in a failure.
const patience = 30 * time.Second

const gatewayPath = "/sallyport/gateway/gw-1"

func anyPeer(spiffeid.ID) error { return nil }

// refusal is what Refuse was told.
type refusal struct {
	reason crossingv1.Reason
	addr   netip.AddrPort
	detail string
}

func refusals(cfg *carrier.Config) <-chan refusal {
	told := make(chan refusal, 16)
	cfg.Refuse = func(r crossingv1.Reason, a netip.AddrPort, d string) { told <- refusal{r, a, d} }
	return told
}

// hear waits for a refusal.
func hear(t *testing.T, told <-chan refusal) refusal {
	t.Helper()
	select {
	case got := <-told:
		return got
	case <-time.After(patience):
		t.Fatal("nothing was refused")
		return refusal{}
	}
}

func listen(t testing.TB, cfg carrier.Config) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// tlsPair is a tunnel over TCP and mTLS on loopback.
func tlsPair(t testing.TB, mesh map[string]*certstest.Domain, l carrier.Limits) (dialled, accepted tunnel.Tunnel) {
	t.Helper()
	aws, azure := mesh["aws.demo"].Source(gatewayPath), mesh["azure.demo"].Source(gatewayPath)
	return connect(t, carrier.Config{Source: aws, Authorize: anyPeer, Limits: l}, carrier.Config{Source: azure, Authorize: anyPeer, Limits: l})
}

func connect(t testing.TB, near, far carrier.Config) (dialled, accepted tunnel.Tunnel) {
	t.Helper()
	listener := listen(t, far)
	dialled, err := NewDialer(near).Dial(t.Context(), listener.Addr().String(), far.Source.ID(), tunnel.Interactive)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { dialled.Close() })
	accepted, err = listener.Accept(t.Context())
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	t.Cleanup(func() { accepted.Close() })
	return dialled, accepted
}

func TestTunnelOverTLS(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	dialled, accepted := tlsPair(t, mesh, carrier.Limits{})
	near, err := dialled.Open(t.Context(), header("x"))
	if err != nil {
		t.Fatal(err)
	}
	far, err := accepted.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, near, "question")
	wantRead(t, far, "question")
	write(t, far, "answer")
	wantRead(t, near, "answer")
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
		if i.Peer.String() != tt.peer || i.Dialed != tt.dialed || i.Carrier != "TCP" || i.Streams != 1 || i.Certificate == nil {
			t.Errorf("%s: Info() = %+v", tt.name, i)
		}
		if i.TLS != "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256" {
			t.Errorf("%s: TLS is %q", tt.name, i.TLS)
		}
	}
}

func TestPeersAreRefused(t *testing.T) {
	denied := errors.New("not a gateway of the policy")
	tests := []struct {
		name   string
		change func(mesh map[string]*certstest.Domain, near, far *carrier.Config)
		want   crossingv1.Reason
	}{
		{"not in the policy", func(_ map[string]*certstest.Domain, _, far *carrier.Config) {
			far.Authorize = func(spiffeid.ID) error { return denied }
		}, crossingv1.Reason_UNKNOWN_PEER},
		{"no policy at all", func(_ map[string]*certstest.Domain, _, far *carrier.Config) {
			far.Authorize = nil
		}, crossingv1.Reason_UNKNOWN_PEER},
		{"trust domain not known", func(mesh map[string]*certstest.Domain, _, far *carrier.Config) {
			mesh["azure.demo"].Distrust("aws.demo")
		}, crossingv1.Reason_BAD_IDENTITY},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
			near := carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer}
			far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer}
			told := refusals(&far)
			tt.change(mesh, &near, &far)
			l := listen(t, far)
			if _, err := NewDialer(near).Dial(t.Context(), l.Addr().String(), far.Source.ID(), tunnel.Interactive); err == nil {
				t.Fatal("Dial succeeded")
			}
			got := hear(t, told)
			if got.reason != tt.want || !got.addr.Addr().IsLoopback() || got.detail == "" {
				t.Errorf("Refuse was told %+v, want %s", got, tt.want)
			}
		})
	}
}

// TestRawPeersAreRefused: those that are no gateway of ours at all.
func TestRawPeersAreRefused(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	client := func(d *certstest.Domain, protos ...string) *tls.Config {
		return &tls.Config{
			InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: protos,
			Certificates: []tls.Certificate{d.Certificate(mesh["aws.demo"].ID(gatewayPath))},
		}
	}
	expired := func() *tls.Config {
		d := certstest.Mesh(t, "aws.demo")["aws.demo"]
		mesh["azure.demo"].Trust(d.Bundle())
		d.NotBefore = -2 * time.Hour
		return client(d, mux.ALPN)
	}
	tests := []struct {
		name string
		talk func(t *testing.T, nc net.Conn)
		want crossingv1.Reason
	}{
		{"closes at once", func(*testing.T, net.Conn) {}, crossingv1.Reason_NO_IDENTITY},
		{"speaks HTTP", func(_ *testing.T, nc net.Conn) { io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n") }, crossingv1.Reason_MALFORMED},
		{"shows no certificate", func(_ *testing.T, nc net.Conn) {
			c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{mux.ALPN}})
			c.Handshake()
			c.Read(make([]byte, 1))
		}, crossingv1.Reason_NO_IDENTITY},
		{"is signed by a look-alike", func(t *testing.T, nc net.Conn) {
			c := tls.Client(nc, client(certstest.Mesh(t, "aws.demo")["aws.demo"], mux.ALPN))
			c.Handshake()
			c.Read(make([]byte, 1))
		}, crossingv1.Reason_BAD_IDENTITY},
		{"does not name the protocol", func(t *testing.T, nc net.Conn) {
			c := tls.Client(nc, client(mesh["aws.demo"]))
			c.Write(mux.AppendPreface(nil, settings(carrier.Limits{}.WithDefaults())))
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("the gateway answered with %d bytes", n)
			}
		}, crossingv1.Reason_MALFORMED},
		{"names an older protocol", func(_ *testing.T, nc net.Conn) {
			c := tls.Client(nc, client(mesh["aws.demo"], "sallyport/0"))
			c.Handshake()
		}, crossingv1.Reason_MALFORMED},
		{"sends half a preface", func(_ *testing.T, nc net.Conn) {
			c := tls.Client(nc, client(mesh["aws.demo"], mux.ALPN))
			c.Write(mux.AppendPreface(nil, settings(carrier.Limits{}.WithDefaults()))[:9])
			c.CloseWrite()
			c.Read(make([]byte, 1))
		}, crossingv1.Reason_MALFORMED},
		{"sends no preface", func(_ *testing.T, nc net.Conn) {
			c := tls.Client(nc, client(mesh["aws.demo"], mux.ALPN))
			c.Write(make([]byte, mux.PrefaceLen))
			c.Read(make([]byte, 1))
		}, crossingv1.Reason_MALFORMED},
		{"shows an SVID that has expired", func(_ *testing.T, nc net.Conn) {
			c := tls.Client(nc, expired())
			c.Handshake()
			c.Read(make([]byte, 1))
		}, crossingv1.Reason_EXPIRED_IDENTITY},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer}
			told := refusals(&cfg)
			l := listen(t, cfg)
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			tt.talk(t, nc)
			nc.Close()
			if got := hear(t, told); got.reason != tt.want {
				t.Errorf("Refuse was told %+v, want %s", got, tt.want)
			}
		})
	}
}

func TestTheWrongGatewayAnswers(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	near := carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer}
	far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer}
	told := refusals(&near)
	l := listen(t, far)
	want := mesh["azure.demo"].ID("/sallyport/gateway/gw-2")
	_, err := NewDialer(near).Dial(t.Context(), l.Addr().String(), want, tunnel.Interactive)
	if !errors.Is(err, certs.ErrUnauthorized) || !strings.Contains(err.Error(), "gw-2") {
		t.Errorf("Dial: %v, want one that says who was wanted", err)
	}
	if got := hear(t, told); got.reason != crossingv1.Reason_UNKNOWN_PEER {
		t.Errorf("Refuse was told %+v", got)
	}
	if _, err := NewDialer(near).Dial(t.Context(), l.Addr().String(), spiffeid.ID{}, tunnel.Interactive); err == nil {
		t.Error("Dial of nobody in particular succeeded")
	}
}

func TestOwnExpiredSVIDIsNotThePeersFault(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	near := carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer}
	far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer}
	mesh["azure.demo"].SetExpired(far.Source)
	told := refusals(&far)
	l := listen(t, far)
	if _, err := NewDialer(near).Dial(t.Context(), l.Addr().String(), far.Source.ID(), tunnel.Interactive); err == nil {
		t.Fatal("Dial of a gateway with an expired SVID succeeded")
	}
	l.Close() // handshakes are over
	select {
	case got := <-told:
		t.Errorf("Refuse was told %+v", got)
	default:
	}
}

func TestSlowPeersHoldUpNobody(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	near := carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer}
	far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer}
	l := listen(t, far)
	for range 20 { // they connect and say nothing
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	tun, err := NewDialer(near).Dial(t.Context(), l.Addr().String(), far.Source.ID(), tunnel.Interactive)
	if err != nil {
		t.Fatalf("Dial beside slow peers: %v", err)
	}
	tun.Close()
}

func TestHandshakeTimeout(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer, Limits: carrier.Limits{HandshakeTimeout: 50 * time.Millisecond}}
	told := refusals(&far)
	l := listen(t, far)
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := hear(t, told); got.reason != crossingv1.Reason_NO_IDENTITY {
		t.Errorf("Refuse was told %+v", got)
	}
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

func TestLostConnectionResetsAllStreams(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	dialled, accepted := tlsPair(t, mesh, carrier.Limits{})
	var all []tunnel.Stream
	for range 20 {
		near, err := dialled.Open(t.Context(), header("x"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, near, "half a")
		far, err := accepted.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantRead(t, far, "half a")
		all = append(all, near, far)
	}
	accepted.(*conn).nc.(*secureConn).NetConn().Close() // as if the host had gone
	for _, s := range all {
		_, err := s.Read(make([]byte, 1))
		wantReset(t, err, tunnel.TunnelClosed, false)
		_, err = s.Write([]byte("x"))
		wantReset(t, err, tunnel.TunnelClosed, false)
		<-s.Done()
	}
	<-dialled.Done()
	<-accepted.Done()
}

func TestTunnelEndsWhenThePeerIsDistrusted(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	dialled, accepted := tlsPair(t, mesh, carrier.Limits{})
	mesh["azure.demo"].Trust(mesh["aws.demo"].Bundle()) // a change that changes nothing
	near, err := dialled.Open(t.Context(), header("x"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, near, "still trusted")
	far, err := accepted.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantRead(t, far, "still trusted")
	mesh["azure.demo"].Distrust("aws.demo")
	<-accepted.Done()
	<-dialled.Done()
	if err := dialled.(*conn).lost(); !strings.Contains(err.Error(), mux.Identity.String()) {
		t.Errorf("the peer was told %v", err)
	}
}

func TestListenerClose(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	l := listen(t, carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer})
	nc, err := net.Dial("tcp", l.Addr().String()) // a handshake under way
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want net.ErrClosed", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	if _, err := Listen("127.0.0.1:-1", carrier.Config{}); err == nil {
		t.Error("Listen at an impossible port succeeded")
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // no clock: a deadline may pass before anything was dialled
		if nc, err := mute.Accept(); err == nil {
			defer nc.Close()
			cancel()
			<-t.Context().Done()
		}
	}()
	d := NewDialer(carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer})
	if _, err := d.Dial(ctx, mute.Addr().String(), mesh["azure.demo"].ID(gatewayPath), tunnel.Interactive); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v, want the context's error", err)
	}
}
