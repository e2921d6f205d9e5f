package certs_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// BenchmarkVerify: what does it cost to verify a peer whose trust domain's
// intermediate was seen before?
func BenchmarkVerify(b *testing.B) {
	mesh := certstest.Mesh(b, "aws.example", "azure.example")
	here := mesh["azure.example"].Source("/gateway")
	svid, err := mesh["aws.example"].Source("/gateway").GetX509SVID()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := here.Verify(svid.Certificates, certs.AuthorizeAny()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHandshake: what does a handshake cost both ends together?
func BenchmarkHandshake(b *testing.B) {
	mesh := certstest.Mesh(b, "aws.example", "azure.example")
	server := certs.ServerTLS(mesh["azure.example"].Source("/gateway"), certs.AuthorizeAny())
	client := certs.ClientTLS(mesh["aws.example"].Source("/gateway"), certs.AuthorizeAny())
	b.ReportAllocs()
	for b.Loop() {
		here, there := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- tls.Server(there, server).Handshake() }()
		if err := tls.Client(here, client).Handshake(); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		here.Close()
		there.Close()
	}
}
