package certs_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

func TestValidateFreshJWT(t *testing.T) {
	const age = 5 * time.Minute
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	here := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	sign := jwtIssuer(t, mesh["azure.example"])
	now := time.Now()
	token := func(change claims) string {
		c := claims{"sub": "spiffe://crafted.example/agent", "aud": audience, "iat": now.Unix(), "exp": now.Add(30 * time.Minute).Unix()}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return sign(c)
	}
	for _, tt := range []struct {
		name  string
		token string
		want  error
		says  string
	}{
		{"of this moment, for half an hour", token(nil), nil, ""},
		{"of this moment, for a minute", token(claims{"exp": now.Add(time.Minute).Unix()}), nil, ""},
		{"audience in a list", token(claims{"aud": []string{audience}}), nil, ""},
		{"as old as may be, and a clock's minute", token(claims{"iat": now.Add(-age - 50*time.Second).Unix()}), nil, ""},
		{"older", token(claims{"iat": now.Add(-age - 61*time.Second).Unix()}), certs.ErrExpired, "was issued 6m1s ago, the limit is 5m0s"},
		{"issued never", token(claims{"iat": 0}), certs.ErrUntrusted, "lives"},
		{"no iat, a minute to go", token(claims{"iat": nil, "exp": now.Add(time.Minute).Unix()}), certs.ErrUntrusted, "when it was issued"},
		{"for others too", token(claims{"aud": []string{audience, "other"}}), certs.ErrUntrusted, "for others"},
		{"for the same twice", token(claims{"aud": []string{audience, audience}}), certs.ErrUntrusted, "for others"},
		{"for another", token(claims{"aud": "other"}), certs.ErrUntrusted, ""},
		{"expired", token(claims{"iat": now.Add(-3 * time.Minute).Unix(), "exp": now.Add(-2 * time.Minute).Unix()}), certs.ErrExpired, ""},
		{"two hours", token(claims{"exp": now.Add(2 * time.Hour).Unix()}), certs.ErrUntrusted, ""},
		{"another domain's key", token(claims{"sub": "spiffe://aws.example/agent"}), certs.ErrUntrusted, ""},
		{"no token", "hello", certs.ErrNotSPIFFE, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second one is from memory
				got, err := here.ValidateFreshJWT(tt.token, audience, age, now)
				if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("ValidateFreshJWT = %v, %v, want %v and %q", got, err, tt.want, tt.says)
				}
				if (err == nil) == got.ID.IsZero() || err != nil && strings.Contains(err.Error(), tt.token) && tt.token != "hello" {
					t.Errorf("ValidateFreshJWT = %v with error %v", got, err)
				}
			}
		})
	}
}

// TestFreshJWTAges: a token that was fresh, and is remembered, is so no longer than
// any other.
func TestFreshJWTAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := certstest.Mesh(t, "aws.example", "azure.example")
		here := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
		token := mesh["aws.example"].JWT("/agent", audience)
		for _, after := range []time.Duration{0, time.Minute, 4 * time.Minute, 2 * time.Minute} {
			<-time.After(after)
			_, err := here.ValidateFreshJWT(token, audience, 5*time.Minute, time.Now())
			if old := after == 2*time.Minute; errors.Is(err, certs.ErrExpired) != old || !old && err != nil {
				t.Errorf("after %v more: %v", after, err)
			}
		}
		if _, err := here.ValidateJWT(token, audience, time.Now()); err != nil {
			t.Errorf("it is good for others still: %v", err)
		}
	})
}

// BenchmarkValidateFreshJWT: what does a proof cost that was seen before?
func BenchmarkValidateFreshJWT(b *testing.B) {
	mesh := certstest.Mesh(b, "aws.example", "azure.example")
	here := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	token := mesh["aws.example"].JWT("/agent", audience)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := here.ValidateFreshJWT(token, audience, 5*time.Minute, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
