package hostile

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// badToken is a JWT-SVID that no gateway may take.
type badToken struct {
	name, token string
	status      int
	reason      crossingv1.Reason
	detail      string // stands in what is recorded
}

// badTokens are all of them. All but the signature and what the name says is good.
func badTokens(t *testing.T, k *tokens) []badToken {
	key, kid := k.own.JWTKey()
	otherKey, otherKid := k.other.JWTKey()
	root, rootKey := k.own.Root()
	mine := ecKey(t, elliptic.P256())
	rsaMine := rsaKey(t, 2048)
	svid := k.own.Certificate(localmesh.ID("orchestrator"))
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	jwk := func(key any) json.RawMessage { return k.json(jose.JSONWebKey{Key: key, KeyID: kid}) }
	good := k.token(nil, nil, k.good)
	parts := strings.Split(good, ".")
	p384 := ecKey(t, elliptic.P384())
	const anyone = "spiffe://onprem.demo/ai/"
	const wrongKey = "error in cryptographic primitive"
	return []badToken{
		// The algorithm.
		{"alg none", k.token(claims{"alg": "none"}, nil, unsignedJWS), 401, bad, "unable to parse JWT token"},
		{"alg None, and a good signature", k.token(claims{"alg": "None"}, nil, k.good), 401, bad, "unable to parse JWT token"},
		{"alg none, nobody named", k.token(claims{"alg": "none", "kid": nil}, nil, unsignedJWS), 401, bad, "unable to parse JWT token"},
		{"no alg", k.token(claims{"alg": nil}, nil, k.good), 401, bad, "unable to parse JWT token"},
		{"public key as an HMAC's secret, as PEM", k.token(claims{"alg": "HS256"}, nil, hs256(asPEM)), 401, bad, "unable to parse JWT token"},
		{"public key as an HMAC's secret, as DER", k.token(claims{"alg": "HS256"}, nil, hs256(public)), 401, bad, "unable to parse JWT token"},
		{"public key as an HMAC's secret, as JWK", k.token(claims{"alg": "HS256"}, nil, hs256(jwk(key.Public()))), 401, bad, "unable to parse JWT token"},
		{"HMAC that says ES256", k.token(nil, nil, hs256(asPEM)), 401, bad, wrongKey},
		{"RSA under the name of an EC key", k.token(claims{"alg": "RS256"}, nil, k.rs256(rsaMine)), 401, bad, "unable to get claims"},
		{"RSA-PSS under the name of an EC key", k.token(claims{"alg": "PS256"}, nil, k.rs256(rsaMine)), 401, bad, "unable to get claims"},
		{"RSA that says ES256", k.token(nil, nil, k.rs256(rsaMine)), 401, bad, wrongKey},
		{"ES384 under the name of a P-256 key", k.token(claims{"alg": "ES384"}, nil, k.der(p384)), 401, bad, "unable to get claims"},
		{"Ed25519", k.token(claims{"alg": "EdDSA"}, nil, k.good), 401, bad, "unable to parse JWT token"},

		// The key.
		{"signed by another trust domain, under its own name", k.token(claims{"kid": otherKid}, nil, k.es256(otherKey)), 401, bad, "no JWT authority"},
		{"signed by another trust domain", k.token(nil, nil, k.es256(otherKey)), 401, bad, wrongKey},
		{"a good signature, the name of another's key", k.token(claims{"kid": otherKid}, nil, k.good), 401, bad, "no JWT authority"},
		{"of another trust domain", k.token(claims{"kid": otherKid}, claims{"sub": "spiffe://azure.demo/ai/llm"}, k.es256(otherKey)), 403, foreign, "spiffe://azure.demo/ai/llm is not of trust domain onprem.demo"},
		{"of another trust domain, signed by this one", k.token(nil, claims{"sub": "spiffe://azure.demo/ai/llm"}, k.good), 401, bad, "no JWT authority"},
		{"of a trust domain that nobody knows", k.token(nil, claims{"sub": "spiffe://nowhere.demo/ai/llm"}, k.good), 401, bad, "no bundle found"},
		{"signed by the root of X509-SVIDs", k.token(nil, nil, k.es256(rootKey)), 401, bad, wrongKey},
		{"signed by the root of X509-SVIDs, under its own name", k.token(claims{"kid": keyID(t, root.PublicKey)}, nil, k.es256(rootKey)), 401, bad, "no JWT authority"},
		{"signed with an X509-SVID", k.token(nil, nil, k.es256(svid.PrivateKey.(*ecdsa.PrivateKey))), 401, bad, wrongKey},
		{"signed with an X509-SVID that comes along", k.token(claims{"x5c": [][]byte{svid.Certificate[0]}}, nil, k.es256(svid.PrivateKey.(*ecdsa.PrivateKey))), 401, bad, wrongKey},
		{"signed with a key that comes along", k.token(claims{"jwk": jwk(mine.Public())}, nil, k.es256(mine)), 401, bad, wrongKey},
		{"signed with a key that is elsewhere", k.token(claims{"jku": "http://127.0.0.1:1/keys"}, nil, k.es256(mine)), 401, bad, wrongKey},
		{"no name of a key", k.token(claims{"kid": nil}, nil, k.good), 401, bad, "missing key id"},
		{"name of a key that is a path", k.token(claims{"kid": "../../../../dev/null"}, nil, hs256(nil)), 401, bad, "no JWT authority"},
		{"name of a key that is not to be printed", k.token(claims{"kid": "\x1b[2J\u202e" + strings.Repeat("k", 4096)}, nil, k.good), 401, bad, "no JWT authority"},

		// The signature.
		{"signature of zeros", k.token(nil, nil, zeroSignature), 401, bad, wrongKey},
		{"signature as certificates have it", k.token(nil, nil, k.der(key)), 401, bad, wrongKey},
		{"no signature", parts[0] + "." + parts[1] + ".", 401, bad, wrongKey},
		{"signature of another token", parts[0] + "." + strings.Split(k.token(nil, claims{"sub": anyone + "other"}, k.good), ".")[1] + "." + parts[2], 401, bad, wrongKey},

		// The header.
		{"an extension that must be understood", k.token(claims{"crit": []string{"exp"}, "exp": 1}, nil, k.good), 401, bad, "unable to"},
		{"unencoded content", k.token(claims{"crit": []string{"b64"}, "b64": false}, nil, k.good), 401, bad, "unable to"},
		{"of another type", k.token(claims{"typ": "at+jwt"}, nil, k.good), 401, bad, "type not equal"},
		{"two algorithms", jws([]byte(`{"alg":"ES256","alg":"none","kid":"`+kid+`"}`), k.json(k.with(nil)), k.good), 401, bad, "unable to parse JWT token"},
		{"encrypted", "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA", 401, bad, "unable to parse JWT token"},
		{"in JSON", base64.RawURLEncoding.EncodeToString([]byte(`{"protected":"` + parts[0] + `"}`)), 401, bad, "unable to parse JWT token"},

		// Whom it names, and whom it is for.
		{"two subjects", jws(k.json(claims{"alg": "ES256", "kid": kid}), []byte(fmt.Sprintf(`{"sub":%q,"sub":"spiffe://onprem.demo/ai/other","aud":%q,"exp":%d}`, k.subject, k.audience, time.Now().Add(time.Minute).Unix())), k.good), 401, bad, "unable to get claims"},
		{"a list of subjects", k.token(nil, claims{"sub": []string{k.subject}}, k.good), 401, bad, "unable to get claims"},
		{"wildcard", k.token(nil, claims{"sub": anyone + "*"}, k.good), 401, bad, "path segment characters are limited"},
		{"dot segments", k.token(nil, claims{"sub": anyone + "x/../orchestrator"}, k.good), 401, bad, "dot segments"},
		{"homograph", k.token(nil, claims{"sub": anyone + "\u043erchestrator"}, k.good), 401, bad, "path segment characters are limited"},
		{"homograph trust domain", k.token(nil, claims{"sub": "spiffe://\u043enprem.demo/ai/orchestrator"}, k.good), 401, bad, "trust domain characters are limited"},
		{"longer than an ID may be", k.token(nil, claims{"sub": anyone + strings.Repeat("a", 2048)}, k.good), 401, bad, "the limit is 2048"},
		{"another audience", k.token(nil, claims{"aud": localmesh.GatewayID("azure").String()}, k.good), 401, bad, "expected audience"},
		{"audience that begins like it", k.token(nil, claims{"aud": k.audience + "/"}, k.good), 401, bad, "expected audience"},
		{"audience in capitals", k.token(nil, claims{"aud": strings.ToUpper(k.audience)}, k.good), 401, bad, "expected audience"},
		{"audience of anybody", k.token(nil, claims{"aud": "*"}, k.good), 401, bad, "expected audience"},
		{"no audience", k.token(nil, claims{"aud": []string{}}, k.good), 401, bad, "expected audience"},
		{"proof for the destination", k.token(nil, claims{"aud": "sallyport:llm.azure.mesh"}, k.good), 401, bad, "expected audience"},

		// When, and how much.
		{"expired", k.token(nil, claims{"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(-2 * time.Minute).Unix()}, k.good), 401, expired, "it has expired"},
		{"not yet valid", k.token(nil, claims{"nbf": time.Now().Add(10 * time.Minute).Unix()}, k.good), 401, expired, "not yet valid"},
		{"never expires", k.token(nil, claims{"exp": nil}, k.good), 401, bad, "missing exp claim"},
		{"expires in a thousand years", k.token(nil, claims{"exp": time.Now().AddDate(1000, 0, 0).Unix()}, k.good), 401, bad, "the limit is 3600"},
		{"50 KB", k.token(nil, claims{"pad": strings.Repeat("x", 36<<10)}, k.good), 401, bad, "the limit is 8192"},
		{"1 MB", k.token(nil, claims{"pad": strings.Repeat("x", 1<<20)}, k.good), 431, crossingv1.Reason_TOO_LARGE, "65536 bytes"},
	}
}

// TestBadTokens shows every bad JWT-SVID where a workload attaches. None is let
// in, and what was wrong is in the record.
func TestBadTokens(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	k := &tokens{t, m.Stolen(t, "onprem"), m.Stolen(t, "azure"), localmesh.ID("orchestrator").String(), localmesh.GatewayID("onprem").String()}
	if status, body := present(t, m, 254, k.token(nil, nil, k.good)); status != http.StatusOK {
		t.Fatalf("status %d of a good token: %s: the table would prove nothing", status, body)
	}
	cases := badTokens(t, k)
	for n, c := range cases {
		status, body := present(t, m, meshtest.Intruder(n+1), c.token)
		var p struct{ Reason, Crossing string }
		if err := json.Unmarshal(body, &p); err != nil || status != c.status || p.Reason != c.reason.String() || p.Crossing != "" {
			t.Errorf("%s: answered with status %d: %s, want %d, %s", c.name, status, body, c.status, c.reason)
		}
	}
	for n, c := range cases {
		r := m.Refusal(t, meshtest.Intruder(n+1))
		f := r.GetRefusal()
		if r.GetGateway() != k.audience || f.GetListener() != "attach" || f.GetCount() != 1 || f.GetReason() != c.reason || !strings.Contains(f.GetDetail(), c.detail) {
			t.Errorf("%s was counted as %v, want %s, %q", c.name, r, c.reason, c.detail)
		}
		wantShown(t, f.GetDetail(), 512)
		if strings.Contains(f.GetDetail(), c.token) {
			t.Errorf("%s: the record has the token", c.name)
		}
	}
	meshtest.WantCrossing(t, m)
}

// present attaches to onprem's gateway with a token, and gives the answer.
func present(t *testing.T, m *meshtest.Mesh, i meshtest.Intruder, token string) (status int, body []byte) {
	t.Helper()
	return presentAt(t, i, m.Gateways["onprem-1"].LoopbackAddr().String(), token)
}

func presentAt(t *testing.T, i meshtest.Intruder, addr, token string) (status int, body []byte) {
	t.Helper()
	conn := i.Dial(t, addr)
	go io.WriteString(conn, "GET /v1/models HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\n\r\n") // its outcome is read
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, meshtest.ReadAll(t, resp)
}

// keyID is the name that an authority would give a key of JWT-SVIDs.
func keyID(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
