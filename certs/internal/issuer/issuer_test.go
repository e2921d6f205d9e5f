package issuer

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

var (
	td    = spiffeid.RequireTrustDomainFromString("aws.example")
	agent = spiffeid.RequireFromPath(td, "/agent")
)

func ephemeral(t *testing.T) *Issuer {
	t.Helper()
	i, err := Ephemeral(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestX509SVID(t *testing.T) {
	i := ephemeral(t)
	svid, err := i.X509SVID(agent, []string{"agent.aws.mesh", "127.0.0.1"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, chains, err := x509svid.Verify(svid.Certificates, i.Bundle())
	if err != nil || id != agent {
		t.Fatalf("Verify = %v, %v", id, err)
	}
	if len(chains[0]) != 3 || len(svid.Certificates) != 2 {
		t.Errorf("a chain of %d, %d of it sent, want leaf, intermediate, root, and the first two sent", len(chains[0]), len(svid.Certificates))
	}
	if _, _, err := x509svid.Verify(svid.Certificates[:1], i.Bundle()); err == nil {
		t.Error("it verifies without the intermediate")
	}
	if diff := cmp.Diff([]string{"agent.aws.mesh"}, svid.Certificates[0].DNSNames); diff != "" {
		t.Errorf("DNS names (-want +got):\n%s", diff)
	}
}

// TestSigningCertificates holds what X509-SVID, section 4, asks of those that sign,
// and that nothing below the intermediate can.
func TestSigningCertificates(t *testing.T) {
	i := ephemeral(t)
	for name, cert := range map[string]*x509.Certificate{"root": i.Root, "intermediate": i.Intermediate} {
		if !cert.IsCA || cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || cert.ExtKeyUsage != nil {
			t.Errorf("%s: CA %t, key usage %b, extended %v", name, cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage)
		}
		if len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://aws.example" {
			t.Errorf("%s is of %v", name, cert.URIs)
		}
	}
	if i.Root.MaxPathLen != 1 || !i.Intermediate.MaxPathLenZero || Direct(i.Root) {
		t.Errorf("path lengths %d and %d, want 1 and 0", i.Root.MaxPathLen, i.Intermediate.MaxPathLen)
	}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	below, err := Intermediate(td, i.Intermediate, i.Key, key.Public(), time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	rogue := &Issuer{Parts: Parts{TrustDomain: td, Root: i.Root, Intermediate: below, Key: key, JWTKey: key}}
	svid, err := rogue.X509SVID(agent, nil, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x509svid.Verify(append(svid.Certificates, i.Intermediate), i.Bundle()); err == nil {
		t.Error("an intermediate below the intermediate is believed")
	}
}

func TestJWTSVID(t *testing.T) {
	i := ephemeral(t)
	now := time.Now()
	var ids [2]string
	for n := range ids {
		made, err := i.JWTSVID(agent, []string{"one"}, now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		svid, err := jwtsvid.ParseAndValidate(made.Token, i.Bundle(), []string{"one"})
		if err != nil || svid.ID != agent {
			t.Fatalf("ParseAndValidate = %v, %v", svid, err)
		}
		if svid.Claims["iat"] != float64(now.Unix()) || svid.Claims["jti"] != made.JTI || svid.Expiry.Unix() != made.Expiry.Unix() {
			t.Errorf("claims %v", svid.Claims)
		}
		ids[n] = made.JTI
	}
	if ids[0] == ids[1] {
		t.Error("two tokens have one jti")
	}
}

func TestNew(t *testing.T) {
	i, other := ephemeral(t), ephemeral(t)
	azure, err := Ephemeral(spiffeid.RequireTrustDomainFromString("azure.example"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := i.X509SVID(agent, nil, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Parts)
	}{
		{"another root", func(p *Parts) { p.Root = other.Root }},
		{"another key", func(p *Parts) { p.Key = other.Key }},
		{"the intermediate's key without it", func(p *Parts) { p.Intermediate = nil }},
		{"another trust domain's", func(p *Parts) { *p = azure.Parts; p.TrustDomain = td }},
		{"a leaf", func(p *Parts) { p.Intermediate, p.Key = leaf.Certificates[0], leaf.PrivateKey }},
	}
	for _, tt := range tests {
		p := i.Parts
		tt.change(&p)
		if _, err := New(p); err == nil {
			t.Errorf("%s was taken", tt.name)
		}
	}
}

func TestSVIDEndsWithWhatSignedIt(t *testing.T) {
	i := ephemeral(t)
	end := i.Intermediate.NotAfter
	svid, err := i.X509SVID(agent, nil, end.Add(-time.Minute), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got := svid.Certificates[0].NotAfter; !got.Equal(end) {
		t.Errorf("SVID ends %v, its intermediate %v", got, end)
	}
	if _, err := i.X509SVID(agent, nil, end, time.Hour); err == nil {
		t.Error("an intermediate that ended signs")
	}
}

func BenchmarkX509SVID(b *testing.B) {
	i, err := Ephemeral(td, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.X509SVID(agent, nil, time.Now(), time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
