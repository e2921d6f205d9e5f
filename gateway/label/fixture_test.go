package label

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

const (
	class   = "public"
	content = `{"model":"m"}`
)

// world is a caller's environment with a classifier beside it, and another one.
type world struct {
	near, far *certstest.Domain
	chains    Chains
	svid      *x509svid.SVID // the classifier's
	request   Request
	now       time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	mesh := certstest.Mesh(t, "near.test", "far.test")
	w := &world{near: mesh["near.test"], far: mesh["far.test"], now: time.Now()}
	w.chains = w.far.Source("/sallyport/gateway/far-1")
	w.svid = svidOf(t, w.near, "/ai/classifier")
	w.request = Request{Caller: w.near.ID("/ai/agent"), Host: "llm.far.mesh", Line: "POST /v1/chat?a=b"}
	return w
}

func svidOf(t testing.TB, d *certstest.Domain, path string) *x509svid.SVID {
	t.Helper()
	svid, err := d.Source(path).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	return svid
}

func (w *world) sign(t testing.TB) string {
	t.Helper()
	token, err := Sign(w.svid, w.request, class, sha256.Sum256([]byte(content)), w.now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// members is a JSON object; a string that is one already stands for itself.
type members = map[string]any

// forgery is a label before it is signed, for a test to make something of it that
// Sign would not.
type forgery struct {
	header, claims members
	rawHeader      string // instead of header
	rawClaims      string
	by             crypto.Signer
}

// forge signs what Sign would, but for what change makes of it. It is by hand, and so
// holds the form of Sign too.
func (w *world) forge(t testing.TB, change func(*forgery)) string {
	t.Helper()
	digest := sha256.Sum256([]byte(content))
	f := &forgery{
		header: members{"alg": "ES256", "typ": "sallyport-label+jwt", "x5c": shown(w.svid)},
		claims: members{
			"class": class, "sub": "spiffe://near.test/ai/agent", "aud": "llm.far.mesh", "request": "POST /v1/chat?a=b",
			"sha256": base64.RawURLEncoding.EncodeToString(digest[:]), "iat": w.now.Unix(), "exp": w.now.Unix() + 300,
		},
		by: w.svid.PrivateKey,
	}
	if change != nil {
		change(f)
	}
	signed := part(t, f.header, f.rawHeader) + "." + part(t, f.claims, f.rawClaims)
	return signed + "." + signature(t, f.by, signed)
}

// signature is that of ES256 (RFC 7518, section 3.4).
func signature(t testing.TB, by crypto.Signer, signed string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, by.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var b [64]byte
	r.FillBytes(b[:32])
	s.FillBytes(b[32:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func part(t testing.TB, m members, raw string) string {
	t.Helper()
	if raw == "" {
		raw = string(must(t, m))
	}
	return base64.RawURLEncoding.EncodeToString([]byte(raw))
}

func shown(svid *x509svid.SVID) []string {
	var chain []string
	for _, c := range svid.Certificates {
		chain = append(chain, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return chain
}

// with makes a forgery another one's: its certificates and its key.
func with(c tls.Certificate) func(*forgery) {
	return func(f *forgery) {
		var chain []string
		for _, der := range c.Certificate {
			chain = append(chain, base64.StdEncoding.EncodeToString(der))
		}
		f.header["x5c"], f.by = chain, c.PrivateKey.(crypto.Signer)
	}
}

// saying changes claims; nil takes one away.
func saying(changed members) func(*forgery) {
	return func(f *forgery) { change(f.claims, changed) }
}

// heading changes the header likewise.
func heading(changed members) func(*forgery) {
	return func(f *forgery) { change(f.header, changed) }
}

func change(m, changed members) {
	maps.Copy(m, changed)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
}

func must(t testing.TB, m members) []byte {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// doubled is an object with one of its members twice: another one before.
func doubled(t testing.TB, m members, name string) string {
	t.Helper()
	return `{"` + name + `":"other",` + string(must(t, m))[1:]
}

// unclean is a Base64url text whose last character has bits that mean nothing.
func unclean(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + alphabet[last|1:last|1+1]
}
