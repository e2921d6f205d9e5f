package hostile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// forger makes what a peer shows in a handshake: it has the keys of the domain
// that the ID is of.
type forger func(t *testing.T, d *certstest.Domain, id spiffeid.ID) tls.Certificate

// forge is an SVID of the true authority with a change to it.
func forge(change func(t *testing.T, d *certstest.Domain, f *certstest.Forgery)) forger {
	return func(t *testing.T, d *certstest.Domain, id spiffeid.ID) tls.Certificate {
		t.Helper()
		return d.Forge(id, func(f *certstest.Forgery) { change(t, d, f) })
	}
}

// withURIs is an SVID with these URI SANs, byte for byte; all else is good
// for the ID.
func withURIs(of func(id string) []string) forger {
	return func(t *testing.T, d *certstest.Domain, id spiffeid.ID) tls.Certificate {
		t.Helper()
		return d.Forge(id, func(f *certstest.Forgery) { f.URISANs(of(id.String())...) })
	}
}

// named is an SVID with one URI SAN, which is none that the holder's would be.
func named(of func(id string) string) forger {
	return withURIs(func(id string) []string { return []string{of(id)} })
}

// called is an SVID with that one URI SAN.
func called(uri string) forger { return named(func(string) string { return uri }) }

// template509 is an SVID whose template is changed.
func template509(change func(c *x509.Certificate)) forger {
	return forge(func(_ *testing.T, _ *certstest.Domain, f *certstest.Forgery) { change(f.Template) })
}

// under is an SVID below an intermediate of that key, which the true root has
// signed.
func under(key crypto.Signer, change func(c *x509.Certificate)) forger {
	return forge(func(_ *testing.T, d *certstest.Domain, f *certstest.Forgery) {
		root, signer := d.Root()
		c := signing("intermediate")
		change(c)
		f.By, f.Signer = d.Sign(c, root, key.Public(), signer), key
		f.Shown = []*x509.Certificate{f.By}
	})
}

// broken is a good SVID whose bytes are changed once it is signed.
func broken(change func(der []byte) []byte) forger {
	return func(t *testing.T, d *certstest.Domain, id spiffeid.ID) tls.Certificate {
		t.Helper()
		c := d.Certificate(id)
		c.Certificate[0], c.Leaf = change(append([]byte(nil), c.Certificate[0]...)), nil
		return c
	}
}

// signing is the template of a certificate that signs others, and has no path length.
func signing(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
}

// tower makes n certificates, each signed by the next, and the last by a root, all
// with one key.
func tower(d *certstest.Domain, key crypto.Signer, n int) []*x509.Certificate {
	by, signer := d.Root()
	all := make([]*x509.Certificate, n)
	for i := n - 1; i >= 0; i-- {
		all[i] = d.Sign(signing("storey "+string(rune('A'+i))), by, key.Public(), signer)
		by, signer = all[i], key
	}
	return all
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// hugeRSA is a public key that takes seconds to make and longer to use.
func hugeRSA() *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), 16383)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

// oid is an extension that nobody knows.
var oid = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1} // RFC 5612

// claims of a JWT, or fields of its header.
type claims = map[string]any

// with is a set of claims with some of them changed; nil takes one out.
func (k *tokens) with(change claims) claims {
	c := claims{"sub": k.subject, "aud": k.audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// tokens forges JWT-SVIDs with the keys of an environment, and of another one.
type tokens struct {
	t                 *testing.T
	own, other        *certstest.Domain
	subject, audience string
}

// jws puts a token together. Neither header nor claims need be any.
func jws(header, payload []byte, sign func(text []byte) []byte) string {
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64(header) + "." + b64(payload)
	return text + "." + b64(sign([]byte(text)))
}

// token is a JWT whose header has the algorithm and key name of the environment's
// authority, unless it is changed.
func (k *tokens) token(header, change claims, sign func([]byte) []byte) string {
	_, kid := k.own.JWTKey()
	h := claims{"alg": "ES256", "typ": "JWT", "kid": kid}
	maps.Copy(h, header)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	return jws(k.json(h), k.json(k.with(change)), sign)
}

func (k *tokens) json(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		k.t.Fatal(err)
	}
	return text
}

// good is the signature of the authority itself.
func (k *tokens) good(text []byte) []byte {
	key, _ := k.own.JWTKey()
	return k.es256(key)(text)
}

// es256 signs as RFC 7518, section 3.4, says.
func (k *tokens) es256(key crypto.Signer) func([]byte) []byte {
	return func(text []byte) []byte {
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(k.der(key)(text), &rs); err != nil {
			k.t.Fatal(err)
		}
		raw := make([]byte, 64)
		rs.R.FillBytes(raw[:32])
		rs.S.FillBytes(raw[32:])
		return raw
	}
}

// der signs as certificates are signed.
func (k *tokens) der(key crypto.Signer) func([]byte) []byte {
	return func(text []byte) []byte {
		sum := sha256.Sum256(text)
		sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			k.t.Fatal(err)
		}
		return sig
	}
}

// hs256 takes anything for a secret.
func hs256(secret []byte) func([]byte) []byte {
	return func(text []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(text)
		return mac.Sum(nil)
	}
}

// unsignedJWS is no signature.
func unsignedJWS([]byte) []byte { return nil }

// zeroSignature is a signature that a careless verifier of ECDSA takes for good of anything.
func zeroSignature([]byte) []byte { return make([]byte, 64) }

// rs256 signs as RFC 7518, section 3.3, says.
func (k *tokens) rs256(key *rsa.PrivateKey) func([]byte) []byte { return k.der(key) }
