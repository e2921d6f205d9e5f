package certs

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Each configuration below has two defences against resumption, because a
// resumed handshake skips VerifyPeerCertificate and would let a peer in that was
// revoked since: no tickets, and verification in VerifyConnection, which runs in
// resumed handshakes too. Either alone is enough; a change that breaks one must
// not open the door.

// ServerTLS is the configuration of a server whose clients must show an SVID
// that verifies and that a accepts; a nil Authorizer accepts nobody. The SVID of
// the source is read in each handshake, which fails while it is expired. protos
// are ALPN protocols in order of preference.
func ServerTLS(s *Source, a Authorizer, protos ...string) *tls.Config {
	c := serverTLS(s, protos)
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = verifyConnection(s, a)
	return c
}

// AttachTLS is ServerTLS for clients that may show no SVID at all, because they
// show who they are in another way. An SVID that is shown must be good.
func AttachTLS(s *Source, a Authorizer, protos ...string) *tls.Config {
	c := serverTLS(s, protos)
	c.ClientAuth = tls.RequestClientCert
	verify := verifyConnection(s, a)
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		return verify(cs)
	}
	return c
}

// ClientTLS is the configuration of a client that shows the source's SVID to
// servers whose own SVID verifies and that a accepts. Host names are not
// checked: a is who the server must be.
func ClientTLS(s *Source, a Authorizer, protos ...string) *tls.Config {
	c := baseTLS(protos)
	c.InsecureSkipVerify = true // the Web's verification; ours is in VerifyConnection
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return certificate(s)
	}
	c.VerifyConnection = verifyConnection(s, a)
	return c
}

// PublicServerTLS is the configuration of a server for clients that show nobody:
// a bundle endpoint may not ask who comes (SPIFFE Federation, section 5.2).
func PublicServerTLS(certificate func() (*tls.Certificate, error), protos ...string) *tls.Config {
	c := baseTLS(protos)
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() }
	return c
}

// PublicClientTLS is the configuration of a client that shows nobody to a server
// whose SVID verifies under the bundles and that a accepts.
func PublicClientTLS(bundles x509bundle.Source, a Authorizer, protos ...string) *tls.Config {
	c := baseTLS(protos)
	c.InsecureSkipVerify = true // the Web's verification; ours is in VerifyConnection
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := Verify(bundles, cs.PeerCertificates, a)
		return err
	}
	return c
}

// WebClientTLS is the configuration of a client that shows nobody to a server of
// the Web, known by its host name under the roots, nil for the system's. TLS 1.2
// will do: the server is somebody else's.
func WebClientTLS(roots *x509.CertPool, protos ...string) *tls.Config {
	c := baseTLS(protos)
	c.MinVersion, c.RootCAs = tls.VersionTLS12, roots
	return c
}

func serverTLS(s *Source, protos []string) *tls.Config {
	c := baseTLS(protos)
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return certificate(s)
	}
	return c
}

// baseTLS leaves CurvePreferences alone: the default begins with the hybrid
// X25519MLKEM768.
func baseTLS(protos []string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		NextProtos:             protos,
	}
}

func verifyConnection(s *Source, a Authorizer) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		_, err := s.Verify(cs.PeerCertificates, a)
		return err
	}
}

func certificate(s *Source) (*tls.Certificate, error) {
	svid, err := s.GetX509SVID()
	if err != nil {
		return nil, err
	}
	return Certificate(svid), nil
}

// Certificate is an SVID as TLS shows it.
func Certificate(svid *x509svid.SVID) *tls.Certificate {
	c := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, cert := range svid.Certificates {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// DescribeTLS is a connection's TLS version, key exchange and cipher suite by their
// standard names, such as "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256".
func DescribeTLS(cs tls.ConnectionState) string {
	return tls.VersionName(cs.Version) + " " + cs.CurveID.String() + " " + tls.CipherSuiteName(cs.CipherSuite)
}
