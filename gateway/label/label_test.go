package label

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

var _ Chains = (*certs.Source)(nil)

// TestSigned: what Sign makes, Verify takes at both gateways, and so it takes what is
// made by hand.
func TestSigned(t *testing.T) {
	w := newWorld(t)
	for name, token := range map[string]string{"by Sign": w.sign(t), "by hand": w.forge(t, nil)} {
		for at, chains := range map[string]Chains{"egress": w.near.Source("/sallyport/gateway/near-1"), "ingress": w.chains} {
			l, err := Verify(token, w.request, chains, w.now)
			if err != nil {
				t.Fatalf("%s, at %s: %v", name, at, err)
			}
			if l.Class != class || l.Labeler != w.svid.ID || l.ContentSHA256 != sha256.Sum256([]byte(content)) {
				t.Errorf("%s, at %s: %+v", name, at, l)
			}
		}
		if len(token) > 3<<10 {
			t.Errorf("%s: %d bytes", name, len(token))
		}
	}
}

// TestHostInAnyCase: names of hosts have none.
func TestHostInAnyCase(t *testing.T) {
	w := newWorld(t)
	w.request.Host = "LLM.far.mesh"
	token := w.sign(t)
	w.request.Host = "llm.FAR.mesh"
	if _, err := Verify(token, w.request, w.chains, w.now); err != nil {
		t.Error(err)
	}
}

// TestKeys: every key that an SVID may have signs labels, by its own algorithm.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w.signs(t, curve.Params().Name, func(f *certstest.Forgery) { f.Public, f.Holder = key.Public(), key })
	}
	w.signs(t, "RSA", func(f *certstest.Forgery) { f.Public, f.Holder = rsaKey.Public(), rsaKey })
	w.signs(t, "Ed25519", func(f *certstest.Forgery) { f.Public, f.Holder = ed.Public(), ed })
}

func (w *world) signs(t *testing.T, name string, change func(*certstest.Forgery)) {
	t.Helper()
	w.svid = svidFrom(t, w.near.Forge(w.near.ID("/ai/classifier"), change))
	if _, err := Verify(w.sign(t), w.request, w.chains, w.now); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

func svidFrom(t *testing.T, c tls.Certificate) *x509svid.SVID {
	t.Helper()
	svid := &x509svid.SVID{PrivateKey: c.PrivateKey.(crypto.Signer)}
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		svid.Certificates = append(svid.Certificates, cert)
	}
	return svid
}

// TestRefused: whatever is not exactly a label of this request, signed by somebody of
// the caller's trust domain, is none.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	at := func(d time.Duration) int64 { return w.now.Add(d).Unix() }
	classifier := w.near.ID("/ai/classifier")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	double := func(member string) func(*forgery) {
		return func(f *forgery) { f.rawClaims = doubled(t, f.claims, member) }
	}
	for _, c := range []struct {
		name   string
		change func(*forgery)
		want   string
	}{
		{"another caller's", saying(members{"sub": "spiffe://near.test/ai/other"}), "of a request of another than spiffe://near.test/ai/agent"},
		{"nobody's", saying(members{"sub": ""}), "of another than"},
		{"to another destination", saying(members{"aud": "tool.far.mesh"}), "to another than llm.far.mesh"},
		{"to several", saying(members{"aud": []string{"llm.far.mesh"}}), "another type"},
		{"of another path", saying(members{"request": "POST /v1/files?a=b"}), "another method or path"},
		{"of another query", saying(members{"request": "POST /v1/chat?a=c"}), "another method or path"},
		{"of another method", saying(members{"request": "PUT /v1/chat?a=b"}), "another method or path"},
		{"of no class", saying(members{"class": ""}), "names no class"},
		{"of null", func(f *forgery) { f.claims["class"] = (*string)(nil) }, "names no class"},
		{"of a class that is a number", saying(members{"class": 0}), "another type"},
		{"of a content by another digest", saying(members{"sha256": "YWJj"}), "no digest"},
		{"of a content by hex", saying(members{"sha256": fmt.Sprintf("%x", sha256.Sum256(nil))}), "no digest"},
		{"a digest with a line break", saying(members{"sha256": "\n" + base64.RawURLEncoding.EncodeToString(make([]byte, 32))}), "no digest"},

		{"expired", saying(members{"iat": at(-6 * time.Minute), "exp": at(-61 * time.Second)}), "expired 61 seconds ago"},
		{"of the future", saying(members{"iat": at(62 * time.Second)}), "in the future"},
		{"for long", saying(members{"exp": at(301 * time.Second)}), "lasts for 301 seconds"},
		{"for ever", saying(members{"iat": int64(-1 << 63), "exp": int64(1<<63 - 1)}), "ends before it begins"},
		{"backwards", saying(members{"exp": at(-time.Second)}), "ends before it begins"},
		{"with a part of a second", saying(members{"iat": float64(at(0)) + 0.5}), "another type"},

		{"without a claim", saying(members{"exp": nil}), "has no exp"},
		{"with another claim", saying(members{"jti": "1"}), "has others than"},
		{"with a claim in another case", saying(members{"class": nil, "Class": class}), "has no class"},
		{"with a claim twice, the last good", double("class"), "a member twice"},
		{"with a caller twice", double("sub"), "a member twice"},
		{"no object", func(f *forgery) { f.rawClaims = "null" }, "no JSON object"},
		{"more than an object", func(f *forgery) { f.rawClaims = string(must(t, f.claims)) + "{}" }, "no JSON object"},

		{"of no algorithm", heading(members{"alg": "none"}), `by "ES256" alone`},
		{"of an algorithm of its choice", heading(members{"alg": "ES384"}), `by "ES256" alone`},
		{"with a key to look up", heading(members{"kid": "k"}), "has others than"},
		{"with a key of its own", heading(members{"jwk": members{"kty": "EC"}}), "has others than"},
		{"with an address of a key", heading(members{"jku": "https://evil.test"}), "has others than"},
		{"with something critical", heading(members{"crit": []string{"b64"}, "b64": false}), "has others than"},
		{"of another type", heading(members{"typ": "JWT"}), "another type"},
		{"of no type", heading(members{"typ": nil}), "has no typ"},
		{"with the algorithm twice", func(f *forgery) { f.rawHeader = doubled(t, f.header, "alg") }, "a member twice"},
		{"without a certificate", heading(members{"x5c": []string{}}), "no certificate"},
		{"with null for certificates", func(f *forgery) { f.header["x5c"] = []string(nil) }, "no certificate"},
		{"with what is no certificate", heading(members{"x5c": []string{"YWJj"}}), "no certificate"},
		{"with a certificate in PEM", heading(members{"x5c": []string{"-----BEGIN CERTIFICATE-----"}}), "not Base64"},

		{"by another key", func(f *forgery) { f.by = key }, "not that of its certificate's key"},
		{"with the intermediate alone", func(f *forgery) { f.header["x5c"] = shown(w.svid)[1:] }, "not that of its certificate's key"},
		{"without the intermediate", func(f *forgery) { f.header["x5c"] = shown(w.svid)[:1] }, "not trusted"},
		{"by somebody of another trust domain", with(w.far.Certificate(w.far.ID("/ai/classifier"))), "labels nothing of trust domain near.test"},
		{"by another authority's of that name", with(certstest.Mesh(t, "near.test")["near.test"].Certificate(classifier)), "not trusted"},
		{"by another domain's authority", with(w.far.Certificate(classifier)), "not trusted"},
		{"by an SVID that is over", with(w.near.Forge(classifier, func(f *certstest.Forgery) { f.Template.NotAfter = w.now.Add(-time.Minute) })), "expired"},
		{"by an SVID to come", with(w.near.Forge(classifier, func(f *certstest.Forgery) { f.Template.NotBefore = w.now.Add(time.Hour) })), "not yet valid"},
		{"by what signs certificates", with(w.near.Forge(classifier, func(f *certstest.Forgery) {
			f.Template.KeyUsage |= x509.KeyUsageCertSign
		})), "may sign others"},
		{"by a certificate without an ID", with(w.near.Forge(classifier, func(f *certstest.Forgery) { f.URISANs() })), "not an SVID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := w.forge(t, c.change)
			l, err := Verify(token, w.request, w.chains, time.Now())
			if err == nil || l != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v, want %q", l, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), token) {
				t.Errorf("the error has the label: %v", err)
			}
		})
	}
}

// TestRefusedText: so is what is no one signed text.
func TestRefusedText(t *testing.T) {
	w := newWorld(t)
	good := w.sign(t)
	parts, other := strings.Split(good, "."), strings.Split(w.forge(t, saying(members{"class": "internal"})), ".")
	public, err := x509.MarshalPKIXPublicKey(w.svid.PrivateKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	confused := w.forge(t, heading(members{"alg": "HS256"}))
	confused = confused[:strings.LastIndexByte(confused, '.')]
	mac := hmac.New(sha256.New, public)
	_, _ = io.WriteString(mac, confused)
	for name, token := range map[string]string{
		"nothing":             "",
		"dots":                "..",
		"words":               "yes, really",
		"two labels":          good + ", " + good,
		"two signatures":      good + "." + parts[2],
		"JSON":                fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2]),
		"no signature":        parts[0] + "." + parts[1] + ".",
		"no text":             parts[0] + ".." + parts[2],
		"another's signature": parts[0] + "." + parts[1] + "." + other[2],
		"another's text":      parts[0] + "." + other[1] + "." + parts[2],
		"padded":              good + "==",
		"with a line break":   good + "\n",
		"an unclean end":      unclean(good),
		"by a MAC":            confused + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"a JWT-SVID":          w.near.JWT("/ai/classifier", "llm.far.mesh"),
		"endless":             good + strings.Repeat("A", MaxSize),
	} {
		if l, err := Verify(token, w.request, w.chains, w.now); err == nil || l != nil {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// TestDates: clocks may differ by a minute, and not by two.
func TestDates(t *testing.T) {
	w := newWorld(t)
	token := w.sign(t)
	for _, c := range []struct {
		clock time.Duration
		good  bool
	}{{-2 * time.Minute, false}, {-59 * time.Second, true}, {0, true}, {Lifetime + 59*time.Second, true}, {Lifetime + time.Minute, false}} {
		if _, err := Verify(token, w.request, w.chains, w.now.Add(c.clock)); (err == nil) != c.good {
			t.Errorf("%v later: %v", c.clock, err)
		}
	}
}

// TestNoLongerThanTheSVID: a label does not outlast what it is signed by.
func TestNoLongerThanTheSVID(t *testing.T) {
	w := newWorld(t)
	w.near.TTL = 90 * time.Second
	w.svid = svidOf(t, w.near, "/ai/classifier")
	p, err := parse(w.sign(t), ofRequest)
	if err != nil || p.claims.Expires != w.svid.Certificates[0].NotAfter.Unix() {
		t.Errorf("expires %d, %v", p.claims.Expires, err)
	}
}

// TestSignRefuses: what no gateway would take is not signed.
func TestSignRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		class  string
		change func(*world)
	}{
		"no class":   {"", func(*world) {}},
		"no caller":  {class, func(w *world) { w.request.Caller = w.request.Caller.TrustDomain().ID(); w.request.Host = "" }},
		"no request": {class, func(w *world) { w.request.Line = "" }},
		"no method":  {class, func(w *world) { w.request.Line = "/v1/chat" }},
		"a version":  {class, func(w *world) { w.request.Line = "GET / HTTP/1.1" }},
		"endless":    {class, func(w *world) { w.request.Line = "GET /" + strings.Repeat("a", MaxSize) }},
	} {
		w := newWorld(t)
		c.change(w)
		if token, err := Sign(w.svid, w.request, c.class, [32]byte{}, w.now); err == nil || name != "endless" && token != "" {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
}

// TestDigest: what matches is the content whole, in pieces of any size, and nothing
// more.
func TestDigest(t *testing.T) {
	l := &Label{ContentSHA256: sha256.Sum256([]byte(content))}
	d := l.Digest()
	for range 2 {
		for i := range content {
			if d.Matches() {
				t.Errorf("matches before byte %d", i)
			}
			if n, err := io.WriteString(d, content[i:i+1]); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		for range 2 { // to ask changes nothing
			if !d.Matches() {
				t.Error("the whole does not match")
			}
		}
		_, _ = d.Write([]byte(" "))
		if d.Matches() {
			t.Error("more than the whole matches")
		}
		d.Reset()
	}
	if none := (&Label{ContentSHA256: sha256.Sum256(nil)}); !none.Digest().Matches() {
		t.Error("no content does not match")
	}
}

func TestDigestAllocates(t *testing.T) {
	d, piece := (&Label{}).Digest(), make([]byte, 16<<10)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = d.Write(piece)
		d.Matches()
	}); n > 1 { // crypto/sha256 copies its state to give a sum
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = d.Write(piece) }); n > 0 {
		t.Errorf("%v allocations for each piece", n)
	}
}

// TestAnswer: a label of an answer is good for that answer, at both gateways, and for no
// request; nor is one of a request good for an answer.
func TestAnswer(t *testing.T) {
	w := newWorld(t)
	svid := svidOf(t, w.far, "/classifier")
	good := Answer{Callee: w.far.ID("/ai/llm"), Caller: w.request.Caller, Line: w.request.Line}
	sign := func(svid *x509svid.SVID, change func(*Answer)) string {
		a := good
		change(&a)
		token, err := SignAnswer(svid, a, class, sha256.Sum256([]byte(content)), w.now)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	same := func(*Answer) {}
	for _, c := range []struct{ name, token, want string }{
		{"good", sign(svid, same), ""},
		{"another callee's", sign(svid, func(a *Answer) { a.Callee = w.far.ID("/ai/other") }), "an answer of another than spiffe://far.test/ai/llm"},
		{"to another caller", sign(svid, func(a *Answer) { a.Caller = w.near.ID("/ai/other") }), "an answer to another than spiffe://near.test/ai/agent"},
		{"to another request", sign(svid, func(a *Answer) { a.Line = "GET /v1/chat?a=b" }), "an answer of another method or path"},
		{"by the caller's labeler", sign(w.svid, same), "labels nothing of trust domain far.test"},
		{"of a request", w.sign(t), "another type"},
		{"of a request that says the same", w.forge(t, saying(members{"sub": good.Callee.String(), "aud": good.Caller.String()})), "another type"},
	} {
		for at, chains := range map[string]Chains{"egress": w.near.Source("/sallyport/gateway/near-1"), "ingress": w.chains} {
			l, err := VerifyAnswer(c.token, good, chains, w.now)
			if c.want == "" && (err != nil || l.Class != class || l.Labeler != svid.ID || l.ContentSHA256 != sha256.Sum256([]byte(content))) {
				t.Errorf("%s, at %s: %+v, %v", c.name, at, l, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, at %s: %v, want %q", c.name, at, err, c.want)
			}
		}
	}
	r := Request{Caller: good.Callee, Host: good.Caller.String(), Line: good.Line}
	if _, err := Verify(sign(svid, same), r, w.chains, w.now); err == nil || !strings.Contains(err.Error(), "another type") {
		t.Errorf("of a request: %v", err)
	}
	if _, err := SignAnswer(svid, Answer{Callee: good.Callee, Line: good.Line}, class, [32]byte{}, w.now); err == nil {
		t.Error("a label of an answer to nobody")
	}
}

// FuzzParse: nothing that comes makes it fail otherwise than by an error, and what it
// takes, another reader reads as the same: each member once, of the same value.
func FuzzParse(f *testing.F) {
	w := newWorld(f)
	chain := string(must(f, members{"x5c": shown(w.svid)}))
	chain = chain[len(`{"x5c":`) : len(chain)-1]
	const header, digest = `{"alg":"ES256","typ":"sallyport-label+jwt","x5c":CHAIN}`, "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	const claims = `{"class":"c","sub":"s","aud":"a","request":"GET /","sha256":"` + digest + `","iat":1,"exp":2}`
	f.Add(header, claims, "AA")
	f.Add(header, claims[:len(claims)-1]+`,"class":"d"}`, "AA")
	f.Add(`{"alg":"none","typ":"sallyport-label+jwt","x5c":CHAIN}`, claims, "")
	f.Add(header, `{"class":null,"sub":0,"aud":[],"request":"","sha256":"","iat":-1,"exp":1e3}`, "A")
	f.Add("null", "[]", "AA.AA")
	f.Fuzz(func(t *testing.T, header, claims, rest string) {
		encode := base64.RawURLEncoding.EncodeToString
		token := encode([]byte(strings.ReplaceAll(header, "CHAIN", chain))) + "." + encode([]byte(claims)) + "." + rest
		p, err := parse(token, ofRequest)
		if _, other := parse(token, ofAnswer); err == nil && other == nil {
			t.Error("a label of a request is one of an answer")
		}
		if err != nil {
			return
		}
		if len(p.chain) == 0 || p.header.Algorithm != "ES256" || p.claims.Class == "" || strings.ContainsAny(token, "=\r\n ,") {
			t.Errorf("taken for a label: %+v", p.claims)
		}
		var other map[string]any
		if err := json.Unmarshal([]byte(claims), &other); err != nil || len(other) != 7 {
			t.Fatalf("%q is taken: %v", claims, err)
		}
		if other["class"] != p.claims.Class || other["sub"] != p.claims.Subject && other["sub"] != nil || other["request"] != p.claims.Line && other["request"] != nil {
			t.Errorf("%q is read as %+v", claims, p.claims)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	token := w.sign(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(token, w.request, w.chains, w.now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	d, piece := (&Label{}).Digest(), make([]byte, 16<<10)
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = d.Write(piece)
	}
}
