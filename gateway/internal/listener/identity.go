package listener

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// identity is the outcome of asking who calls.
type identity struct {
	caller Caller
	reason crossingv1.Reason // not zero: refuse it
	detail string            // for people, with a reason
	final  bool              // the connection itself is refused, not the request alone
}

// identify says who sends the request and takes the credentials out of it. An
// X509-SVID comes first: then Authorization is the application's own and stays.
func (c *conn) identify(h *l7.RequestHead, proxy bool, now time.Time) identity {
	h.Proof, h.Label = saidIn(h.Fields, crossing.ProofField), saidIn(h.Fields, label.Field)
	caller, reason, ok := c.caller(now)
	if !ok {
		return c.identifyJWT(h, proxy, now)
	}
	h.Fields.Del("proxy-authorization")
	found := identity{caller: caller, reason: reason, final: reason != 0}
	switch reason {
	case crossingv1.Reason_EXPIRED_IDENTITY:
		found.detail = "X509-SVID of " + c.id.String() + " ended its time on a live connection"
	case crossingv1.Reason_FOREIGN_IDENTITY:
		found.detail = c.id.String() + " is not of trust domain " + c.l.cfg.Source.TrustDomain().Name()
	case crossingv1.Reason_BAD_IDENTITY:
		found.detail = "X509-SVID of " + c.id.String() + " is no longer trusted"
	}
	return found
}

func (c *conn) identifyJWT(h *l7.RequestHead, proxy bool, now time.Time) identity {
	token, several := takeToken(h, proxy)
	switch {
	case several:
		return identity{reason: crossingv1.Reason_BAD_IDENTITY, detail: "more than one credential of a kind"}
	case token == "":
		return identity{reason: crossingv1.Reason_NO_IDENTITY, detail: "neither X509-SVID nor JWT-SVID"}
	}
	svid, err := c.l.cfg.Source.ValidateJWT(token, c.l.cfg.Audience, now)
	if err != nil {
		return identity{reason: reasonOf(err), detail: err.Error()}
	}
	if svid.ID.TrustDomain() != c.l.cfg.Source.TrustDomain() {
		return identity{
			reason: crossingv1.Reason_FOREIGN_IDENTITY,
			detail: svid.ID.String() + " is not of trust domain " + c.l.cfg.Source.TrustDomain().Name(),
		}
	}
	return identity{caller: Caller{
		ID: svid.ID, Attach: crossingv1.Attach_JWT, SVID: svid.Fingerprint, TLS: c.tls, Address: c.addr,
		Credential: svid.Held,
	}}
}

// reasonOf maps what certs says of a credential.
func reasonOf(err error) crossingv1.Reason {
	if errors.Is(err, certs.ErrExpired) {
		return crossingv1.Reason_EXPIRED_IDENTITY
	}
	return crossingv1.Reason_BAD_IDENTITY
}

// takeToken takes the JWT-SVID out of the head: from Proxy-Authorization, or,
// where the request is not a proxy's, from where an SDK puts its API key. It
// is then nowhere else in the head either. several says that a field which
// holds one stands there twice: which of them counts would be a guess.
func takeToken(h *l7.RequestHead, proxy bool) (token string, several bool) {
	names := []string{"proxy-authorization", "authorization", "x-api-key", "api-key"}
	if proxy {
		names = names[:1]
	}
	for _, name := range names {
		value, rows := only(h.Fields, name)
		if value = bearer(name, value); value == "" && rows < 2 {
			continue
		}
		if rows > 1 {
			return "", true
		}
		if looksLikeJWT(value) || token == "" {
			token = value
		}
		if looksLikeJWT(value) {
			break
		}
	}
	h.Fields.Del("proxy-authorization")
	for _, name := range names[1:] {
		if value, _ := only(h.Fields, name); token != "" && bearer(name, value) == token {
			h.Fields.Del(name)
		}
	}
	return token, false
}

// saidIn is what a caller says to its gateway in a field, as a proof or a label. Of
// several there is none that anybody could take for one: they are as one field (RFC
// 9110 5.3).
func saidIn(f l7.Fields, name string) (said string) {
	for i := range f {
		switch {
		case f[i].Name != name:
		case said == "":
			said = f[i].Value
		default:
			said += ", " + f[i].Value
		}
	}
	return said
}

// only is the value of a field and in how many rows it stands.
func only(f l7.Fields, name string) (value string, rows int) {
	for i := range f {
		if f[i].Name == name {
			value = f[i].Value
			rows++
		}
	}
	return value, rows
}

// bearer is the token in a field's value: after "Bearer" in the fields of RFC
// 6750, the whole value in an API key's. To a proxy it may also come as Basic.
func bearer(name, value string) string {
	if !strings.HasSuffix(name, "authorization") {
		return value
	}
	scheme, token, _ := strings.Cut(value, " ")
	token = strings.Trim(token, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return token
	case strings.EqualFold(scheme, "Basic") && name == "proxy-authorization":
		return basic(token)
	}
	return ""
}

// basic is the token in the credentials of RFC 7617, as the password of the user
// "jwt" or "bearer". It is how clients send it that know nothing of a proxy but
// http_proxy=http://jwt:TOKEN@HOST:PORT.
func basic(credentials string) string {
	plain, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return ""
	}
	user, token, _ := strings.Cut(string(plain), ":")
	if user != "jwt" && user != "bearer" {
		return ""
	}
	return token
}

// looksLikeJWT tells a JWT from an API key that only stands beside it: three
// parts, the first of them the base64 of an object.
func looksLikeJWT(s string) bool {
	return strings.HasPrefix(s, "ey") && strings.Count(s, ".") == 2
}
