package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// outcome is both ends' view of one connection.
type outcome struct {
	server, client       tls.ConnectionState
	serverErr, clientErr error
}

// connect makes one connection. The server sends a byte after the handshake, so
// that the client sees a refusal, which TLS 1.3 tells after its own handshake,
// and takes in tickets.
func connect(t *testing.T, server, client *tls.Config) outcome {
	t.Helper()
	a, b := pipe(t)
	defer b.Close()
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer a.Close()
		conn := tls.Server(a, server)
		if o.serverErr = conn.HandshakeContext(t.Context()); o.serverErr == nil {
			o.server = conn.ConnectionState()
			_, o.serverErr = conn.Write([]byte{1})
		}
	}()
	conn := tls.Client(b, client)
	if o.clientErr = conn.HandshakeContext(t.Context()); o.clientErr == nil {
		_, o.clientErr = io.ReadFull(conn, make([]byte, 1))
		o.client = conn.ConnectionState()
	}
	b.Close()
	<-done
	return o
}

// pipe is a connection with room for what both ends write at once, such as an
// alert that crosses the other end's flight.
func pipe(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l := bufconn.Listen(64 << 10)
	defer l.Close()
	dialled := make(chan net.Conn, 1)
	go func() {
		conn, _ := l.Dial() // fails only if the listener is closed, and then Accept does
		dialled <- conn
	}()
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, <-dialled
}

// hostile is a client that checks nothing and shows what it is given.
func hostile(shown ...tls.Certificate) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "gateway", Certificates: shown}
}

func id(s string) spiffeid.ID { return spiffeid.RequireFromString(s) }

func TestMutualTLS(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	server := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	client := mesh["aws.example"].Source("/sallyport/gateway/gw-2")

	o := connect(t,
		certs.ServerTLS(server, certs.AuthorizeID(client.ID()), "sallyport/1"),
		certs.ClientTLS(client, certs.AuthorizeID(server.ID()), "sallyport/1"))
	if o.serverErr != nil || o.clientErr != nil {
		t.Fatalf("server: %v, client: %v", o.serverErr, o.clientErr)
	}
	if got, err := certs.PeerID(o.server); err != nil || got != client.ID() {
		t.Errorf("PeerID at the server = %v, %v, want %v", got, err, client.ID())
	}
	if got, err := certs.PeerID(o.client); err != nil || got != server.ID() {
		t.Errorf("PeerID at the client = %v, %v, want %v", got, err, server.ID())
	}
	if got, want := certs.DescribeTLS(o.server), "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256"; got != want {
		t.Errorf("DescribeTLS = %q, want %q", got, want)
	}
	if got := o.server.NegotiatedProtocol; got != "sallyport/1" {
		t.Errorf("protocol = %q", got)
	}
	svid, err := client.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := certs.Fingerprint(o.server.PeerCertificates[0]), certs.Fingerprint(svid.Certificates[0]); got != want {
		t.Errorf("Fingerprint = %q, want %q", got, want)
	}
	if got := certs.Fingerprint(svid.Certificates[0]); !strings.HasPrefix(got, "sha256:") || len(got) != len("sha256:")+64 {
		t.Errorf("Fingerprint = %q, want sha256: and 64 digits", got)
	}
}

// TestRefusedPeer shows each kind of bad SVID to a server and to a client.
func TestRefusedPeer(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example", "stranger.example")
	aws, azure := mesh["aws.example"], mesh["azure.example"]
	azure.Distrust("stranger.example")
	craft := crafter(t, azure)

	tests := []struct {
		name  string
		shown func() tls.Certificate
		allow certs.Authorizer
		want  error
	}{
		{"trust domain without a bundle", func() tls.Certificate {
			d := mesh["stranger.example"]
			return d.Certificate(d.ID("/agent"))
		}, certs.AuthorizeAny(), certs.ErrUntrusted},
		{"look-alike: another domain's root made the ID", func() tls.Certificate {
			return aws.Certificate(id("spiffe://azure.example/agent"))
		}, certs.AuthorizeAny(), certs.ErrUntrusted},
		{"expired", func() tls.Certificate {
			return dated(aws, -2*time.Hour)
		}, certs.AuthorizeAny(), certs.ErrExpired},
		{"not yet valid", func() tls.Certificate {
			return dated(aws, 2*time.Hour)
		}, certs.AuthorizeAny(), certs.ErrExpired},
		{"another ID than the one that may", func() tls.Certificate {
			return aws.Certificate(aws.ID("/agent"))
		}, certs.AuthorizeID(aws.ID("/agent2")), certs.ErrUnauthorized},
		{"nobody may", func() tls.Certificate {
			return aws.Certificate(aws.ID("/agent"))
		}, nil, certs.ErrUnauthorized},
		{"the zero ID may", func() tls.Certificate {
			return aws.Certificate(aws.ID("/agent"))
		}, certs.AuthorizeID(spiffeid.ID{}), certs.ErrUnauthorized},
		{"two SPIFFE IDs", func() tls.Certificate {
			return craft(x509.Certificate{URIs: uris("spiffe://crafted.example/a", "spiffe://crafted.example/b")})
		}, certs.AuthorizeAny(), certs.ErrNotSPIFFE},
		{"no SPIFFE ID, a host name", func() tls.Certificate {
			return craft(x509.Certificate{DNSNames: []string{"agent.crafted.example"}})
		}, certs.AuthorizeAny(), certs.ErrNotSPIFFE},
		{"a URI of another scheme", func() tls.Certificate {
			return craft(x509.Certificate{URIs: uris("https://crafted.example/a")})
		}, certs.AuthorizeAny(), certs.ErrNotSPIFFE},
		{"an ID without a path", func() tls.Certificate {
			return craft(x509.Certificate{URIs: uris("spiffe://crafted.example")})
		}, certs.AuthorizeAny(), certs.ErrNotSPIFFE},
		{"CA bit", func() tls.Certificate {
			return craft(x509.Certificate{URIs: uris("spiffe://crafted.example/a"), IsCA: true, BasicConstraintsValid: true})
		}, certs.AuthorizeAny(), certs.ErrNotSPIFFE},
		{"may sign certificates", func() tls.Certificate {
			return craft(x509.Certificate{URIs: uris("spiffe://crafted.example/a"), KeyUsage: x509.KeyUsageCertSign})
		}, certs.AuthorizeAny(), certs.ErrNotSPIFFE},
	}
	here := azure.Source("/sallyport/gateway/gw-1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shown := tt.shown()
			o := connect(t, certs.ServerTLS(here, tt.allow), hostile(shown))
			if !errors.Is(o.serverErr, tt.want) {
				t.Errorf("server's handshake = %v, want %v", o.serverErr, tt.want)
			}
			if o.clientErr == nil {
				t.Error("the client got through")
			}
			o = connect(t, certs.AttachTLS(here, tt.allow), hostile(shown))
			if !errors.Is(o.serverErr, tt.want) {
				t.Errorf("attach handshake = %v, want %v", o.serverErr, tt.want)
			}
			o = connect(t, &tls.Config{Certificates: []tls.Certificate{shown}}, certs.ClientTLS(here, tt.allow))
			if !errors.Is(o.clientErr, tt.want) {
				t.Errorf("client's handshake = %v, want %v", o.clientErr, tt.want)
			}
		})
	}
	t.Run("crafted and good", func(t *testing.T) {
		good := craft(x509.Certificate{URIs: uris("spiffe://crafted.example/a"), KeyUsage: x509.KeyUsageDigitalSignature})
		if o := connect(t, certs.ServerTLS(here, certs.AuthorizeAny()), hostile(good)); o.serverErr != nil {
			t.Errorf("the table's crafted SVIDs would be refused anyway: %v", o.serverErr)
		}
	})
}

func TestNoSVIDShown(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example")
	here := mesh["aws.example"].Source("/sallyport/gateway/gw-1")
	if o := connect(t, certs.ServerTLS(here, certs.AuthorizeAny()), hostile()); o.serverErr == nil {
		t.Error("ServerTLS let a client in that showed no SVID")
	}
	o := connect(t, certs.AttachTLS(here, certs.AuthorizeAny()), hostile())
	if o.serverErr != nil || o.clientErr != nil {
		t.Fatalf("AttachTLS: server: %v, client: %v", o.serverErr, o.clientErr)
	}
	if _, err := certs.PeerID(o.server); !errors.Is(err, certs.ErrNotSPIFFE) {
		t.Errorf("PeerID of nobody = %v, want %v", err, certs.ErrNotSPIFFE)
	}
	if _, err := certs.PeerID(tls.ConnectionState{}); !errors.Is(err, certs.ErrNotSPIFFE) {
		t.Errorf("PeerID before the handshake = %v, want %v", err, certs.ErrNotSPIFFE)
	}
}

func TestOldTLSRefused(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example")
	here := mesh["aws.example"].Source("/sallyport/gateway/gw-1")
	old := hostile(mesh["aws.example"].Certificate(here.ID()))
	old.MaxVersion = tls.VersionTLS12
	if o := connect(t, certs.ServerTLS(here, certs.AuthorizeAny()), old); o.serverErr == nil {
		t.Error("TLS 1.2 was accepted")
	}
	proto := hostile(mesh["aws.example"].Certificate(here.ID()))
	proto.NextProtos = []string{"h2"}
	if o := connect(t, certs.ServerTLS(here, certs.AuthorizeAny(), "sallyport/1"), proto); o.serverErr == nil {
		t.Error("another ALPN protocol was accepted")
	}
}

// TestResumption forces tickets on, as a change of configuration might one day:
// a peer that was let in once and revoked since must be refused all the same.
func TestResumption(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	server := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	aws := mesh["aws.example"]
	var calls int
	var revoked error
	config := certs.ServerTLS(server, func(spiffeid.ID, []*x509.Certificate) error {
		calls++
		return revoked
	})
	config.SessionTicketsDisabled = false
	client := hostile(aws.Certificate(aws.ID("/agent")))
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)

	if o := connect(t, config, client); o.serverErr != nil || o.server.DidResume {
		t.Fatalf("first connection: %v, resumed %t", o.serverErr, o.server.DidResume)
	}
	if o := connect(t, config, client); o.serverErr != nil || !o.server.DidResume {
		t.Fatalf("second connection: %v, resumed %t: the test would prove nothing", o.serverErr, o.server.DidResume)
	}
	if calls != 2 {
		t.Errorf("authorizer was called %d times in 2 connections", calls)
	}
	revoked = errors.New("revoked")
	if o := connect(t, config, client); !errors.Is(o.serverErr, certs.ErrUnauthorized) || !errors.Is(o.serverErr, revoked) {
		t.Errorf("revoked peer with a ticket: %v, want %v", o.serverErr, certs.ErrUnauthorized)
	}
	revoked = nil
	mesh["azure.example"].Distrust("aws.example")
	if o := connect(t, config, client); !errors.Is(o.serverErr, certs.ErrUntrusted) {
		t.Errorf("peer of a distrusted domain with a ticket: %v, want %v", o.serverErr, certs.ErrUntrusted)
	}
}

func TestNoTickets(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	server := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	client := mesh["aws.example"].Source("/sallyport/gateway/gw-2")
	for name, make := range map[string]func(*certs.Source, certs.Authorizer, ...string) *tls.Config{
		"ServerTLS": certs.ServerTLS, "AttachTLS": certs.AttachTLS,
	} {
		t.Run(name, func(t *testing.T) {
			var calls int
			config := make(server, func(spiffeid.ID, []*x509.Certificate) error { calls++; return nil })
			c := certs.ClientTLS(client, certs.AuthorizeAny())
			c.ServerName = "gateway"
			c.SessionTicketsDisabled = false
			c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i := range 3 {
				o := connect(t, config, c)
				if o.serverErr != nil || o.clientErr != nil || o.server.DidResume || o.client.DidResume {
					t.Errorf("connection %d: server: %v, client: %v, resumed %t", i, o.serverErr, o.clientErr, o.server.DidResume)
				}
			}
			if calls != 3 {
				t.Errorf("authorizer was called %d times in 3 connections", calls)
			}
			if session, ok := c.ClientSessionCache.Get("gateway"); ok && session != nil {
				t.Error("a ticket was issued")
			}
		})
	}
}

// TestRotation holds configurations still while the SVID under them changes.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := certstest.Mesh(t, "aws.example", "azure.example")
		azure := mesh["azure.example"]
		server := azure.Source("/sallyport/gateway/gw-1")
		client := mesh["aws.example"].Source("/sallyport/gateway/gw-2")
		sc := certs.ServerTLS(server, certs.AuthorizeAny())
		cc := certs.ClientTLS(client, certs.AuthorizeAny())

		first := connect(t, sc, cc)
		azure.Rotate(server)
		second := connect(t, sc, cc)
		if first.clientErr != nil || second.clientErr != nil {
			t.Fatalf("before: %v, after rotation: %v", first.clientErr, second.clientErr)
		}
		if a, b := certs.Fingerprint(first.client.PeerCertificates[0]), certs.Fingerprint(second.client.PeerCertificates[0]); a == b {
			t.Error("the old SVID was shown after the rotation")
		}

		<-time.After(time.Hour + time.Second) // nobody rotates
		if o := connect(t, sc, cc); !errors.Is(o.serverErr, certs.ErrExpired) {
			t.Errorf("server with an expired SVID: %v, want %v", o.serverErr, certs.ErrExpired)
		}
		azure.Rotate(server)
		if o := connect(t, sc, cc); !errors.Is(o.clientErr, certs.ErrExpired) {
			t.Errorf("client with an expired SVID: %v, want %v", o.clientErr, certs.ErrExpired)
		}
		mesh["aws.example"].Rotate(client)
		if o := connect(t, sc, cc); o.serverErr != nil || o.clientErr != nil {
			t.Errorf("after both rotated: server: %v, client: %v", o.serverErr, o.clientErr)
		}
	})
}

// TestVerifyAgain judges a connection's chain again, as whoever holds it open
// must after each update.
func TestVerifyAgain(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	server := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	client := mesh["aws.example"].Source("/sallyport/gateway/gw-2")
	o := connect(t, certs.ServerTLS(server, certs.AuthorizeAny()), certs.ClientTLS(client, certs.AuthorizeAny()))
	if got, err := server.Verify(o.server.PeerCertificates, certs.AuthorizeAny()); err != nil || got != client.ID() {
		t.Errorf("Verify = %v, %v, want %v", got, err, client.ID())
	}
	mesh["azure.example"].Distrust("aws.example")
	if _, err := server.Verify(o.server.PeerCertificates, certs.AuthorizeAny()); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("Verify after Distrust = %v, want %v", err, certs.ErrUntrusted)
	}
	if _, err := server.Verify(nil, certs.AuthorizeAny()); !errors.Is(err, certs.ErrNotSPIFFE) {
		t.Errorf("Verify of nothing = %v, want %v", err, certs.ErrNotSPIFFE)
	}
}

// crafter makes a trust domain by hand, so that its leaves can be wrong in ways
// that no issuer of ours makes, and has the domain's sources trust it.
func crafter(t *testing.T, trusting *certstest.Domain) func(x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(template, parent *x509.Certificate) *x509.Certificate {
		template.SerialNumber = big.NewInt(1)
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	root := sign(&x509.Certificate{
		URIs: uris("spiffe://crafted.example"), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	td := spiffeid.RequireTrustDomainFromString("crafted.example")
	trusting.Trust(spiffebundle.FromX509Authorities(td, []*x509.Certificate{root}))
	return func(template x509.Certificate) tls.Certificate {
		leaf := sign(&template, root)
		return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	}
}

// dated is an SVID from an issuer whose clock is off.
func dated(d *certstest.Domain, off time.Duration) tls.Certificate {
	d.NotBefore = off
	defer func() { d.NotBefore = 0 }()
	return d.Certificate(d.ID("/agent"))
}

func uris(text ...string) []*url.URL {
	var out []*url.URL
	for _, s := range text {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		out = append(out, u)
	}
	return out
}

func TestRetireAt(t *testing.T) {
	now := time.Now()
	for range 100 {
		if at := certs.RetireAt(now.Add(100*time.Second), now).Sub(now); at < 70*time.Second || at > 80*time.Second {
			t.Fatalf("it retires after %s of 100 s", at)
		}
	}
}
