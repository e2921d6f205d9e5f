package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

const audience = "spiffe://azure.example/sallyport/gateway/gw-1"

// jwtIssuer signs any claims as a trust domain "crafted.example" that the domain
// trusts.
func jwtIssuer(t testing.TB, trusting *certstest.Domain) func(claims any) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := spiffebundle.New(spiffeid.RequireTrustDomainFromString("crafted.example"))
	if err := b.AddJWTAuthority("k1", key.Public()); err != nil {
		t.Fatal(err)
	}
	trusting.Trust(b)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(claims any) string {
		token, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

type claims = map[string]any

func TestValidateJWT(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example", "stranger.example")
	azure := mesh["azure.example"]
	azure.Distrust("stranger.example")
	here := azure.Source("/sallyport/gateway/gw-1")
	sign := jwtIssuer(t, azure)
	now := time.Now()
	good := func(change claims) string {
		c := claims{"sub": "spiffe://crafted.example/agent", "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return sign(c)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	unsigned := b64([]byte(`{"alg":"none","kid":"k1"}`)) + "." + b64([]byte(`{"sub":"spiffe://crafted.example/agent","aud":"`+audience+`","exp":9999999999}`)) + "."
	genuine := good(nil)
	flip := byte('A')
	if genuine[len(genuine)-10] == flip {
		flip = 'B'
	}

	tests := []struct {
		name  string
		token string
		want  error
	}{
		{"good", genuine, nil},
		{"of a federated domain", mesh["aws.example"].JWT("/agent", audience), nil},
		{"no iat, an hour to go", good(claims{"iat": nil}), nil},
		{"several audiences", good(claims{"aud": []string{"other", audience}}), nil},
		{"for another", good(claims{"aud": "spiffe://azure.example/other"}), certs.ErrUntrusted},
		{"for nobody", good(claims{"aud": nil}), certs.ErrUntrusted},
		{"expired", good(claims{"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(-2 * time.Minute).Unix()}), certs.ErrExpired},
		{"issued in two hours", good(claims{"iat": now.Add(2 * time.Hour).Unix(), "exp": now.Add(3 * time.Hour).Unix()}), certs.ErrExpired},
		{"valid in two hours", good(claims{"nbf": now.Add(2 * time.Hour).Unix()}), certs.ErrExpired},
		{"lives two hours", good(claims{"exp": now.Add(2 * time.Hour).Unix()}), certs.ErrUntrusted},
		{"lived two hours, half an hour to go", good(claims{"iat": now.Add(-90 * time.Minute).Unix(), "exp": now.Add(30 * time.Minute).Unix()}), certs.ErrUntrusted},
		{"no iat, two hours to go", good(claims{"iat": nil, "exp": now.Add(2 * time.Hour).Unix()}), certs.ErrUntrusted},
		{"iat before the big bang", good(claims{"iat": -9e17}), certs.ErrUntrusted},
		{"iat is no number of seconds", good(claims{"iat": -1e300}), certs.ErrNotSPIFFE},
		{"no exp", good(claims{"exp": nil}), certs.ErrUntrusted},
		{"no sub", good(claims{"sub": nil}), certs.ErrNotSPIFFE},
		{"sub is no SPIFFE ID", good(claims{"sub": "agent"}), certs.ErrNotSPIFFE},
		{"sub without a path", good(claims{"sub": "spiffe://crafted.example"}), certs.ErrNotSPIFFE},
		{"look-alike: another domain's key", good(claims{"sub": "spiffe://aws.example/agent"}), certs.ErrUntrusted},
		{"trust domain without a bundle", mesh["stranger.example"].JWT("/agent", audience), certs.ErrUntrusted},
		{"signature changed", genuine[:len(genuine)-10] + string(flip) + genuine[len(genuine)-9:], certs.ErrUntrusted},
		{"alg none", unsigned, certs.ErrNotSPIFFE},
		{"empty", "", certs.ErrNotSPIFFE},
		{"no token", "hello", certs.ErrNotSPIFFE},
		{"longer than 8 KiB", good(claims{"pad": strings.Repeat("x", 8<<10)}), certs.ErrNotSPIFFE},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := here.ValidateJWT(tt.token, audience, time.Now())
			if !errors.Is(err, tt.want) {
				t.Fatalf("ValidateJWT = %v, %v, want %v", got, err, tt.want)
			}
			if (err == nil) == got.ID.IsZero() {
				t.Errorf("ValidateJWT = %v with error %v", got, err)
			}
			if err != nil && tt.token != "" && strings.Contains(err.Error(), tt.token) {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
	t.Run("no audience expected", func(t *testing.T) {
		if _, err := here.ValidateJWT(good(claims{"aud": ""}), "", time.Now()); !errors.Is(err, certs.ErrUntrusted) {
			t.Errorf("ValidateJWT for no audience = %v, want %v", err, certs.ErrUntrusted)
		}
	})
	t.Run("by the caller's clock", func(t *testing.T) {
		if _, err := here.ValidateJWT(genuine, audience, now.Add(2*time.Hour)); !errors.Is(err, certs.ErrExpired) {
			t.Errorf("ValidateJWT two hours later = %v, want %v", err, certs.ErrExpired)
		}
		if _, err := here.ValidateJWT(genuine, audience, now.Add(-2*time.Hour)); !errors.Is(err, certs.ErrExpired) {
			t.Errorf("ValidateJWT two hours earlier = %v, want %v", err, certs.ErrExpired)
		}
	})
}

func TestFetchJWTSVID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := certstest.Mesh(t, "aws.example", "azure.example")
		agent := mesh["aws.example"].Source("/agent")
		here := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
		token, expires, err := agent.FetchJWTSVID(t.Context(), audience)
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(expires); got != time.Hour {
			t.Errorf("expires in %v, want %v", got, time.Hour)
		}
		if got, err := here.ValidateJWT(token, audience, time.Now()); err != nil || got.ID != agent.ID() {
			t.Errorf("ValidateJWT = %v, %v, want %v", got, err, agent.ID())
		}
		<-time.After(time.Until(expires) + 2*time.Minute)
		if _, err := here.ValidateJWT(token, audience, time.Now()); !errors.Is(err, certs.ErrExpired) {
			t.Errorf("ValidateJWT after it expired = %v, want %v", err, certs.ErrExpired)
		}
		if _, _, err := agent.FetchJWTSVID(t.Context(), ""); err == nil {
			t.Error("a JWT-SVID for no audience was made")
		}
	})
}

func FuzzValidateJWT(f *testing.F) {
	mesh := certstest.Mesh(f, "aws.example", "azure.example")
	here := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	good := mesh["aws.example"].JWT("/agent", audience)
	agent := mesh["aws.example"].ID("/agent")
	sign := jwtIssuer(f, mesh["azure.example"])
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(sign(claims{"sub": 1, "aud": []int{1}, "exp": "soon"}))
	f.Add(sign(claims{"sub": "spiffe://crafted.example/a", "aud": audience, "exp": 1e300, "iat": -1e300}))
	f.Fuzz(func(t *testing.T, token string) {
		got, err := here.ValidateJWT(token, audience, time.Now())
		if err == nil && got.ID != agent {
			t.Errorf("ValidateJWT(%q) = %v: forged", token, got)
		}
		if err != nil && !errors.Is(err, certs.ErrExpired) && !errors.Is(err, certs.ErrUntrusted) && !errors.Is(err, certs.ErrNotSPIFFE) {
			t.Errorf("ValidateJWT(%q) = %v: no reason", token, err)
		}
	})
}

// TestVerifiedJWTsAreNotBelievedForever: a token that was validated is refused
// as soon as the key that signed it is gone or another one.
func TestVerifiedJWTsAreNotBelievedForever(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	here := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	token := mesh["aws.example"].JWT("/agent", audience)
	validate := func(audience string) error {
		_, err := here.ValidateJWT(token, audience, time.Now())
		return err
	}
	for range 2 {
		if err := validate(audience); err != nil {
			t.Fatal(err)
		}
	}
	if err := validate("spiffe://azure.example/other"); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("for another audience: %v, want %v", err, certs.ErrUntrusted)
	}
	mesh["azure.example"].Distrust("aws.example")
	if err := validate(audience); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("without the bundle: %v, want %v", err, certs.ErrUntrusted)
	}
	mesh["azure.example"].Trust(certstest.Mesh(t, "aws.example")["aws.example"].Bundle())
	if err := validate(audience); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("with another key: %v, want %v", err, certs.ErrUntrusted)
	}
}
