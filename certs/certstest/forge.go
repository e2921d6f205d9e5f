package certstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Forgery is an X509-SVID before it is signed, for a test to make something of it
// that no authority would.
type Forgery struct {
	// Template is what the domain's issuer would sign.
	Template *x509.Certificate
	// Public is the key that the certificate is for.
	Public crypto.PublicKey
	// By is whose signature it gets, and Signer the key that makes it.
	By     *x509.Certificate
	Signer crypto.Signer
	// Shown is what stands behind it in the handshake: the issuer's intermediate, if
	// it has one.
	Shown []*x509.Certificate
	// Holder makes the handshake's signature. It need not fit Public.
	Holder crypto.Signer
}

// Forge signs an SVID as the issuer would, but for what change makes of it.
func (d *Domain) Forge(id spiffeid.ID, change func(*Forgery)) tls.Certificate {
	d.t.Helper()
	template, err := d.issuer.Template(id, nil, d.now(), d.TTL)
	if err != nil {
		d.t.Fatalf("forge %s: %v", id, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		d.t.Fatalf("forge %s: %v", id, err)
	}
	f := &Forgery{Template: template, Public: key.Public(), By: d.issuer.By(), Signer: d.issuer.Key, Holder: key}
	if i := d.issuer.Intermediate; i != nil {
		f.Shown = []*x509.Certificate{i}
	}
	change(f)
	leaf := d.Sign(f.Template, f.By, f.Public, f.Signer)
	c := tls.Certificate{PrivateKey: f.Holder, Certificate: [][]byte{leaf.Raw}}
	for _, cert := range f.Shown {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// Sign makes a certificate of whatever a template says. One that cannot be read
// again has nothing but its Raw.
func (d *Domain) Sign(template, by *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	d.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by, public, signer)
	if err != nil {
		d.t.Fatalf("forge a certificate: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return &x509.Certificate{Raw: der}
	}
	return cert
}

// Root is the active root of a Stolen domain with its key.
func (d *Domain) Root() (*x509.Certificate, crypto.Signer) {
	d.t.Helper()
	if d.root == nil {
		d.t.Fatalf("nobody has the root key of %s", d.td)
	}
	return d.issuer.Root, d.root
}

// JWTKey signs the domain's JWT-SVIDs under a name.
func (d *Domain) JWTKey() (key crypto.Signer, name string) {
	return d.issuer.JWTKey, d.issuer.JWTKeyID()
}

// URISANs makes a template's subject alternative names these URIs, byte for byte,
// whether they are any or not.
func (f *Forgery) URISANs(uris ...string) {
	const uri = 6 // uniformResourceIdentifier (RFC 5280, section 4.2.1.6)
	names := make([]asn1.RawValue, 0, len(uris))
	for _, u := range uris {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: uri, Bytes: []byte(u)})
	}
	f.Extension(asn1.ObjectIdentifier{2, 5, 29, 17}, false, names)
}

// Extension adds an extension to a template, in place of what CreateCertificate
// would make of its fields.
func (f *Forgery) Extension(id asn1.ObjectIdentifier, critical bool, value any) {
	der, err := asn1.Marshal(value)
	if err != nil {
		panic(err) // whoever wrote the test has made it so
	}
	f.Template.ExtraExtensions = append(f.Template.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: der})
}
