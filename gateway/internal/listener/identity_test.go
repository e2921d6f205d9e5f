package listener

import (
	"bufio"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestJWT(t *testing.T) {
	f := start(t, echo)
	audience := f.cfg.Source.ID().String()
	good := f.jwt()
	foreign := f.mesh["azure.test"].JWT("/llm", audience)
	other := f.mesh["onprem.test"].JWT("/orchestrator", "another-audience")
	f.mesh["onprem.test"].NotBefore = -2 * time.Hour
	expired := f.jwt()
	f.mesh["onprem.test"].NotBefore = 0
	const origin, absolute = "GET / HTTP/1.1", "GET http://h/ HTTP/1.1"
	for _, tt := range []struct {
		name   string
		line   string
		fields []string
		status int
		reason crossingv1.Reason
	}{
		{"bearer", origin, []string{"Authorization: Bearer " + good}, 200, 0},
		{"bearer in lower case", origin, []string{"authorization: bearer " + good}, 200, 0},
		{"x-api-key", origin, []string{"x-api-key: " + good}, 200, 0},
		{"api-key", origin, []string{"api-key: " + good}, 200, 0},
		{"in two places", origin, []string{"Authorization: Bearer " + good, "x-api-key: " + good}, 200, 0},
		{"beside an API key", origin, []string{"Authorization: Bearer sk-123", "x-api-key: " + good}, 200, 0},
		{"proxy at a base URL", origin, []string{"Proxy-Authorization: Bearer " + good}, 200, 0},
		{"proxy", absolute, []string{"Proxy-Authorization: Bearer " + good}, 200, 0},
		{"proxy by Basic", absolute, []string{"Proxy-Authorization: Basic " + userOf("jwt", good)}, 200, 0},
		{"proxy by Basic, as bearer", absolute, []string{"proxy-authorization: basic " + userOf("bearer", good)}, 200, 0},
		{"proxy by Basic of another user", absolute, []string{"Proxy-Authorization: Basic " + userOf("admin", good)}, 407, crossingv1.Reason_NO_IDENTITY},
		{"proxy by Basic that is none", absolute, []string{"Proxy-Authorization: Basic " + good}, 407, crossingv1.Reason_NO_IDENTITY},
		{"proxy by Basic without a token", absolute, []string{"Proxy-Authorization: Basic " + userOf("jwt", "")}, 407, crossingv1.Reason_NO_IDENTITY},
		{"proxy by Basic, expired", absolute, []string{"Proxy-Authorization: Basic " + userOf("jwt", expired)}, 407, crossingv1.Reason_EXPIRED_IDENTITY},
		{"basic is the application's", origin, []string{"Authorization: Basic " + userOf("jwt", good)}, 401, crossingv1.Reason_NO_IDENTITY},
		{"none", origin, nil, 401, crossingv1.Reason_NO_IDENTITY},
		{"none at a proxy", absolute, nil, 407, crossingv1.Reason_NO_IDENTITY},
		{"authorization at a proxy", absolute, []string{"Authorization: Bearer " + good}, 407, crossingv1.Reason_NO_IDENTITY},
		{"basic", origin, []string{"Authorization: Basic " + good}, 401, crossingv1.Reason_NO_IDENTITY},
		{"no JWT", origin, []string{"Authorization: Bearer sk-123"}, 401, crossingv1.Reason_BAD_IDENTITY},
		{"changed", origin, []string{"Authorization: Bearer " + good[:len(good)-8] + "AAAAAAAA"}, 401, crossingv1.Reason_BAD_IDENTITY},
		{"another audience", origin, []string{"Authorization: Bearer " + other}, 401, crossingv1.Reason_BAD_IDENTITY},
		{"expired", origin, []string{"Authorization: Bearer " + expired}, 401, crossingv1.Reason_EXPIRED_IDENTITY},
		{"foreign", origin, []string{"Authorization: Bearer " + foreign}, 403, crossingv1.Reason_FOREIGN_IDENTITY},
		{"twice", origin, []string{"Authorization: Bearer " + good, "Authorization: Bearer " + foreign}, 401, crossingv1.Reason_BAD_IDENTITY},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dialLoopback()
			br := bufio.NewReader(c)
			raw := strings.Join(append([]string{tt.line, "Host: h"}, tt.fields...), "\r\n") + "\r\n\r\n"
			r := send(t, c, br, raw, "GET")
			body := content(r)
			if r.StatusCode != tt.status {
				t.Fatalf("answer = %v %s, want %d", r.Status, body, tt.status)
			}
			if tt.reason != 0 {
				f.refusals.want(t, tt.reason, "")
				if asked := r.Header.Get("Www-Authenticate") + r.Header.Get("Proxy-Authenticate"); (asked == "") == (tt.status != 403) {
					t.Errorf("asked for a credential: %q", asked)
				}
				return
			}
			if !strings.HasPrefix(body, orchestrator+" ") {
				t.Errorf("answer = %s", body)
			}
			for name, values := range r.Header {
				if strings.Contains(strings.Join(values, ","), good[:20]) {
					t.Errorf("the credential is still in %s", name)
				}
			}
		})
	}
	f.refusals.wantNone(t)
}

// userOf are the credentials of Basic (RFC 7617).
func userOf(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

func TestForeignSVID(t *testing.T) {
	f := start(t, echo)
	c := f.client(2)
	c.Transport = f.transport(2, f.clientTLS("azure.test", "/llm"))
	r, err := c.Get("https://llm.azure.mesh/")
	if err != nil || r.StatusCode != 403 {
		t.Errorf("answer = %v, %v, want 403", r, err)
	}
	f.refusals.want(t, crossingv1.Reason_FOREIGN_IDENTITY, "")
}

func TestJWTOverTLS(t *testing.T) {
	for version := 1; version <= 2; version++ {
		f := start(t, echo)
		c := f.client(version)
		c.Transport = f.transport(version, f.clientTLS("", ""))
		r, err := c.Do(newRequest(t, "GET", nil, "Authorization", "Bearer "+f.jwt()))
		if err != nil || r.StatusCode != 200 {
			t.Errorf("HTTP/%d: answer = %v, %v", version, r, err)
		}
		r, err = c.Do(newRequest(t, "GET", nil))
		if err != nil || r.StatusCode != 401 {
			t.Errorf("HTTP/%d without a credential: %v, %v, want 401", version, r, err)
		}
		f.refusals.want(t, crossingv1.Reason_NO_IDENTITY, "")
	}
}

func TestCallerByJWT(t *testing.T) {
	f := start(t, ok)
	token := f.jwt()
	c := &conn{l: f.Listener, tls: "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256"}
	h := &l7.RequestHead{Fields: l7.Fields{{Name: "authorization", Value: "Bearer " + token}}}
	who := c.identify(h, false, time.Now())
	if who.reason != 0 || who.caller.Attach != crossingv1.Attach_JWT || who.caller.TLS != c.tls {
		t.Fatalf("identify = %+v", who)
	}
	if s := who.caller.SVID; len(s) != len("sha256:")+64 || strings.Contains(s, token[:10]) {
		t.Errorf("SVID = %q", s)
	}
	if len(h.Fields) != 0 {
		t.Errorf("left in the head: %v", h.Fields)
	}
}
