// Package label is what says of what class the content of one request, or of one
// answer, is, where that is another class than its sender's: a text that a labeler
// signed with the key of its X509-SVID, and that says of which request or answer it
// speaks. FORMAT.md has the form.
//
// One invariant: a label is good for the request or the answer that it names and for no
// other, in whoever's hands it is. What lies outside of what it names (the fields of the head)
// it does not speak of. Whose labels count, the policy says, and not this package.
package label

import (
	"crypto/x509"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	// Field is the field that a label comes in, of a request and of an answer.
	Field = "sallyport-label"
	// MaxSize bounds a label, in bytes: far above any honest one, which is below
	// 3 KiB.
	MaxSize = 8 << 10
	// Lifetime is how long a label may last.
	Lifetime = 5 * time.Minute
	// leeway is what two clocks may differ, as for any JWT-SVID.
	leeway = time.Minute
	// ofRequest and ofAnswer are the types of labels. They keep one from being taken for
	// a token of another kind, and either kind for the other.
	ofRequest = "sallyport-label+jwt"
	ofAnswer  = "sallyport-answer-label+jwt"
)

// Request is a request as a label names it.
type Request struct {
	Caller spiffeid.ID
	Host   string // of the destination: NAME.ENVIRONMENT.mesh, in any case
	// Line is the method, a space, and the path with its query, byte for byte as the
	// destination is asked, such as "POST /v1/chat/completions". Without it, what is
	// in the query would pass as what an empty content is.
	Line string
}

// Answer is an answer as a label names it.
type Answer struct {
	Callee spiffeid.ID // who answers
	Caller spiffeid.ID // whom, as the destination is told
	Line   string      // of the request, as in Request
}

// named is what a label speaks of, as its claims have it.
type named struct {
	typ      string // of such labels
	kind     string // for people
	sender   spiffeid.ID
	audience string
	line     string
}

func (r Request) named() named {
	return named{ofRequest, "a request", r.Caller, strings.ToLower(r.Host), r.Line}
}

func (a Answer) named() named {
	audience := ""
	if !a.Caller.IsZero() {
		audience = a.Caller.String()
	}
	return named{ofAnswer, "an answer", a.Callee, audience, a.Line}
}

// Label is one that holds, if the content is what it says.
type Label struct {
	Class   string // as the labeler calls it
	Labeler spiffeid.ID
	// ContentSHA256 is the digest that the content must have, of nothing if there
	// is none. See Digest.
	ContentSHA256 [32]byte
}

// Chains verifies X509-SVIDs. *certs.Source does.
type Chains interface {
	// Verify is whose SVID a chain shows, leaf first, if it verifies now against the
	// bundle of its own trust domain, and if a accepts it.
	Verify(chain []*x509.Certificate, a func(id spiffeid.ID, chain []*x509.Certificate) error) (spiffeid.ID, error)
}

// header is the protected header of a label.
type header struct {
	Algorithm string   `json:"alg"`
	Type      string   `json:"typ"`
	Chain     []string `json:"x5c"` // Base64 of DER, leaf first (RFC 7515, section 4.1.6)
}

// claims are what a label says.
type claims struct {
	Class    string `json:"class"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Line     string `json:"request"`
	Content  string `json:"sha256"` // Base64url
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}
