package authority

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
)

// peerInfo is who the kernel says connected. It is what a call's AuthInfo is.
type peerInfo struct {
	credentials.CommonAuthInfo
	peer *attest.Peer
}

// AuthType implements credentials.AuthInfo.
func (peerInfo) AuthType() string { return "unix-peer" }

// peerCredentials learn who connected to a Unix socket. They refuse nobody: a
// handshake that fails looks to a client like a server that is down, and it
// should hear PermissionDenied instead.
type peerCredentials struct{ attestor *attest.Attestor }

var _ credentials.TransportCredentials = peerCredentials{}

// ServerHandshake implements credentials.TransportCredentials.
func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.New("attest peer: not a Unix socket")
	}
	p, err := c.attestor.Of(u)
	if err != nil {
		return nil, nil, err
	}
	// The bytes never leave the kernel, which is as private as this host is.
	level := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return conn, peerInfo{CommonAuthInfo: level, peer: p}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("attest peer: only servers do")
}

// Info implements credentials.TransportCredentials.
func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix-peer"}
}

// Clone implements credentials.TransportCredentials.
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (peerCredentials) OverrideServerName(string) error { return nil }

// peerOf is the process that a call came from; nil if it is not known.
func peerOf(ctx context.Context) *attest.Peer {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, _ := p.AuthInfo.(peerInfo)
	return info.peer
}
