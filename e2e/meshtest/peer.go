package meshtest

import (
	"crypto/tls"
	wire "encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TunnelSettings are those of a hostile peer.
var TunnelSettings = mux.Settings{StreamWindow: 1 << 20, TunnelWindow: 1 << 20, MaxStreams: 16}

// Stranger is a TLS client that trusts anybody and shows what it is given.
func Stranger(protos []string, shown ...tls.Certificate) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: protos, Certificates: shown}
}

// Invade dials azure's tunnel port from a network of its own.
func Invade(t testing.TB, m *Mesh, i Intruder, config *tls.Config) *tls.Conn {
	t.Helper()
	return tls.Client(i.Dial(t, m.Started(t, "azure-1").GetTunnel()), config)
}

// WantCounted waits for the one refusal of an intruder at azure's tunnel port.
func WantCounted(t testing.TB, m *Mesh, i Intruder, reason crossingv1.Reason, detail string) {
	t.Helper()
	r := m.Refusal(t, i)
	if r.GetGateway() != localmesh.GatewayID("azure").String() || r.GetRefusal().GetListener() != "tunnel" || r.GetRefusal().GetCount() != 1 ||
		r.GetRefusal().GetReason() != reason || !strings.Contains(r.GetRefusal().GetDetail(), detail) {
		t.Errorf("counted as %v, want %s, %q", r, reason, detail)
	}
}

// Admitted is a hostile peer that was let in: it has stolen onprem's keys.
func Admitted(t testing.TB, m *Mesh, i Intruder) *tls.Conn {
	t.Helper()
	onprem := m.Stolen(t, "onprem")
	conn := Invade(t, m, i, Stranger([]string{mux.ALPN}, onprem.Certificate(localmesh.GatewayID("onprem"))))
	if _, err := conn.Write(mux.AppendPreface(nil, TunnelSettings)); err != nil {
		t.Fatal(err)
	}
	theirs := make([]byte, mux.PrefaceLen)
	if _, err := io.ReadFull(conn, theirs); err != nil {
		t.Fatal(err)
	}
	if _, err := mux.ParsePreface(theirs); err != nil {
		t.Fatal(err)
	}
	return conn
}

// NextFrame reads a frame; io.EOF is the connection's end.
func NextFrame(conn net.Conn) (mux.Header, []byte, error) {
	head := make([]byte, mux.HeaderLen)
	if _, err := io.ReadFull(conn, head); err != nil {
		return mux.Header{}, nil, err
	}
	h, err := mux.ParseHeader(head)
	if err != nil {
		return h, nil, err
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(conn, payload)
	return h, payload, err
}

// GoAway reads to the connection's end and gives the reason of its GOAWAY.
func GoAway(t testing.TB, conn net.Conn) mux.Reason {
	t.Helper()
	var reason mux.Reason
	for {
		h, payload, err := NextFrame(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the tunnel goes on")
		}
		if err != nil {
			return reason
		}
		if h.Type == mux.GoAway {
			reason = mux.Reason(wire.BigEndian.Uint32(payload[4:]))
		}
	}
}
