package http2

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"math/big"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
)

var h2spec = flag.String("h2spec", "", "the h2spec program (github.com/summerwind/h2spec, v2.2.1), to test against")

// TestH2spec runs another's conformance test of servers against the package:
//
//	go test -run TestH2spec -h2spec /path/to/h2spec
func TestH2spec(t *testing.T) {
	if *h2spec == "" {
		t.Skip("needs -h2spec PROGRAM")
	}
	for _, secure := range [...]bool{false, true} {
		addr := serveTCP(t, secure, Config{Secure: secure, Refuse: refuseAll}, greet)
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"-h", "127.0.0.1", "-p", port, "-o", "1", "--strict"}
		if secure {
			args = append(args, "-t", "-k")
		}
		out, err := exec.CommandContext(t.Context(), *h2spec, args...).CombinedOutput()
		if err != nil {
			t.Errorf("h2spec, TLS %v: %v\n%s", secure, err, out)
		} else {
			t.Logf("h2spec, TLS %v:\n%s", secure, out[max(0, len(out)-200):])
		}
	}
}

// greet answers everything, once it has come, with content.
func greet(s *Stream) {
	if _, err := io.Copy(io.Discard, s); err != nil {
		return
	}
	if s.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "12"}}}, false) == nil {
		_, _ = s.Write([]byte("hello, world"))
		_ = s.End(nil)
	}
}

func refuseAll(_ *l7.RequestHead, r fieldblock.Refusal) (*l7.ResponseHead, []byte) {
	return &l7.ResponseHead{Status: r.Status}, []byte(r.Detail)
}

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
