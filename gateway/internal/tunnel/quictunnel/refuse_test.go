package quictunnel

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

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
			got := <-told
			if got.reason != tt.want || !got.addr.Addr().IsLoopback() || got.detail == "" {
				t.Errorf("Refuse was told %+v, want %s", got, tt.want)
			}
		})
	}
}

// rawTLS is the configuration of a peer that is no gateway of ours.
func rawTLS(protos []string, shown ...tls.Certificate) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: protos, Certificates: shown}
}

// rawDial makes a QUIC connection without any of our code.
func rawDial(t testing.TB, addr net.Addr, cfg *tls.Config) (*quic.Conn, error) {
	t.Helper()
	qc, err := quic.DialAddr(t.Context(), addr.String(), cfg, &quic.Config{MaxIncomingStreams: 1 << 16})
	if err == nil {
		t.Cleanup(func() { qc.CloseWithError(0, "") })
	}
	return qc, err
}

// TestRawPeersAreRefused: those that are no gateway of ours at all.
func TestRawPeersAreRefused(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	id := mesh["aws.demo"].ID(gatewayPath)
	ours := []string{ALPN}
	talk := func(bytes []byte) func(*testing.T, *quic.Conn) {
		return func(t *testing.T, qc *quic.Conn) {
			s, err := qc.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			s.Write(bytes)
			s.Close()
			io.Copy(io.Discard, s)
		}
	}
	wait := func(_ *testing.T, qc *quic.Conn) { <-qc.Context().Done() }
	other := certstest.Mesh(t, "aws.demo")["aws.demo"]
	stale := certstest.Mesh(t, "aws.demo")["aws.demo"]
	stale.NotBefore = -2 * time.Hour
	forced := func(c tls.Certificate) *tls.Config { // shows it, whether the server would like it or not
		cfg := rawTLS(ours)
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
		return cfg
	}
	cut := mesh["aws.demo"].Certificate(id)
	cut.Certificate = [][]byte{cut.Certificate[0][:100]}
	others := mesh["aws.demo"].Certificate(id)
	others.PrivateKey = other.Certificate(id).PrivateKey
	tests := []struct {
		name  string
		tls   *tls.Config
		talk  func(*testing.T, *quic.Conn)
		trust *certstest.Domain // instead of the mesh's own
		want  crossingv1.Reason
	}{
		{"shows no certificate", rawTLS(ours), wait, nil, crossingv1.Reason_NO_IDENTITY},
		{"is signed by a look-alike", rawTLS(ours, other.Certificate(id)), wait, nil, crossingv1.Reason_BAD_IDENTITY},
		{"shows a certificate that cannot be read", forced(cut), wait, nil, crossingv1.Reason_BAD_IDENTITY},
		{"shows another's certificate, without its key", forced(others), wait, nil, crossingv1.Reason_BAD_IDENTITY},
		{"does not name the protocol", rawTLS([]string{"h3"}, mesh["aws.demo"].Certificate(id)), wait, nil, crossingv1.Reason_MALFORMED},
		{"sends another preface", rawTLS(ours, mesh["aws.demo"].Certificate(id)), talk([]byte("GET / HTTP/1.1\r\n\r\n")), nil, crossingv1.Reason_MALFORMED},
		{"sends half a preface", rawTLS(ours, mesh["aws.demo"].Certificate(id)), talk([]byte("sally")), nil, crossingv1.Reason_MALFORMED},
		{"shows an SVID that has expired", rawTLS(ours, stale.Certificate(id)), wait, stale, crossingv1.Reason_EXPIRED_IDENTITY},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			own := mesh["azure.demo"]
			if tt.trust != nil {
				own = certstest.Mesh(t, "azure.demo")["azure.demo"]
				own.Trust(tt.trust.Bundle())
			}
			cfg := carrier.Config{Source: own.Source(gatewayPath), Authorize: anyPeer}
			told := refusals(&cfg)
			l := listen(t, cfg)
			if qc, err := rawDial(t, l.Addr(), tt.tls); err == nil {
				tt.talk(t, qc)
			}
			if got := <-told; got.reason != tt.want || !got.addr.Addr().IsLoopback() {
				t.Errorf("Refuse was told %+v, want %s", got, tt.want)
			}
		})
	}
}

// TestResumptionCannotBypassVerification: a peer that was let in once comes back
// with whatever ticket it got, and is judged anew.
func TestResumptionCannotBypassVerification(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	revoked := make(chan error, 1)
	revoked <- nil
	cfg := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: func(spiffeid.ID) error {
		err := <-revoked
		revoked <- err
		return err
	}}
	told := refusals(&cfg)
	l := listen(t, cfg)
	client := rawTLS([]string{ALPN}, mesh["aws.demo"].Certificate(mesh["aws.demo"].ID(gatewayPath)))
	client.ServerName = "gateway"
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for i := range 2 {
		qc, err := rawDial(t, l.Addr(), client)
		if err != nil {
			t.Fatal(err)
		}
		s, err := qc.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		s.Write(appendPreface(nil, tunnel.Interactive, 0))
		if _, err := io.ReadFull(s, make([]byte, prefaceLen)); err != nil {
			t.Fatal(err)
		}
		tun, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if state := qc.ConnectionState(); state.TLS.DidResume || state.Used0RTT {
			t.Errorf("connection %d was resumed", i)
		}
		if session, ok := client.ClientSessionCache.Get("gateway"); ok && session != nil {
			t.Error("a ticket was issued")
		}
		go qc.CloseWithError(0, "")
		<-tun.Done()
	}
	<-revoked
	revoked <- errors.New("revoked")
	if qc, err := rawDial(t, l.Addr(), client); err == nil {
		<-qc.Context().Done()
	}
	if got := <-told; got.reason != crossingv1.Reason_UNKNOWN_PEER {
		t.Errorf("Refuse was told %+v", got)
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
	if got := <-told; got.reason != crossingv1.Reason_UNKNOWN_PEER {
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

// TestPeersThatVanishAreRefused: one packet came, and then nothing.
func TestPeersThatVanishAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		near, far := configs(t, carrier.Limits{})
		told := refusals(&far)
		l := v.listen(far)
		first := true
		v.wire.set(0, func(simnet.Packet) bool {
			pass := first
			first = false
			return !pass
		})
		tr := &quic.Transport{Conn: v.socket()}
		defer tr.Close()
		h := &handshake{cfg: &near, role: mux.Dialler, want: far.Source.ID()}
		if _, err := tr.Dial(t.Context(), l.Addr(), h.tls(), nil); err == nil {
			t.Fatal("the handshake succeeded")
		}
		if got := <-told; got.reason != crossingv1.Reason_NO_IDENTITY {
			t.Errorf("Refuse was told %+v", got)
		}
	})
}
