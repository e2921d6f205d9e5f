package label

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Verify takes a label of this request that somebody of the caller's own trust domain
// signed and that is good now; the clock by which chains are verified must agree.
// What is left to do: to ask the policy whether he may label, and to hold the content
// against the label. Errors are for people, after "the label is not good: ".
func Verify(token string, r Request, chains Chains, now time.Time) (*Label, error) {
	return r.named().verify(token, chains, now)
}

// VerifyAnswer takes a label of this answer likewise, that somebody of the callee's own
// trust domain signed.
func VerifyAnswer(token string, a Answer, chains Chains, now time.Time) (*Label, error) {
	return a.named().verify(token, chains, now)
}

func (n named) verify(token string, chains Chains, now time.Time) (*Label, error) {
	p, err := parse(token, n.typ)
	if err != nil {
		return nil, err
	}
	if err := p.claims.about(n); err != nil { // before anything that costs
		return nil, err
	}
	if err := p.claims.dates(now); err != nil {
		return nil, err
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(p.header.Algorithm)})
	if err != nil {
		return nil, errors.New("it is not one signed text")
	}
	if _, err := signed.Verify(p.chain[0].PublicKey); err != nil {
		return nil, errors.New("its signature is not that of its certificate's key")
	}
	id, err := chains.Verify(p.chain, ofDomain(n.sender.TrustDomain()))
	if err != nil {
		return nil, err
	}
	return &Label{Class: p.claims.Class, Labeler: id, ContentSHA256: p.content}, nil
}

// ofDomain accepts labelers of the sender's own trust domain, which is its
// environment's alone: nobody else's says of what class its data is.
func ofDomain(td spiffeid.TrustDomain) func(spiffeid.ID, []*x509.Certificate) error {
	return func(id spiffeid.ID, _ []*x509.Certificate) error {
		if id.TrustDomain() != td {
			return fmt.Errorf("%s labels nothing of trust domain %s", id, td)
		}
		return nil
	}
}

// about holds a label against what it came with.
func (c *claims) about(n named) error {
	switch {
	case c.Subject != n.sender.String():
		return fmt.Errorf("it is of %s of another than %s", n.kind, n.sender)
	case c.Audience != n.audience:
		return fmt.Errorf("it is of %s to another than %s", n.kind, n.audience)
	case c.Line != n.line:
		return fmt.Errorf("it is of %s of another method or path", n.kind)
	}
	return nil
}

// dates holds when a label was issued and ends.
func (c *claims) dates(now time.Time) error {
	at, slack, longest := now.Unix(), int64(leeway/time.Second), int64(Lifetime/time.Second)
	switch {
	case c.Issued < 0 || c.Expires <= c.Issued: // below 0 the difference could be too large to be one
		return errors.New("it ends before it begins")
	case c.Expires-c.Issued > longest:
		return fmt.Errorf("it lasts for %d seconds, the limit is %d", c.Expires-c.Issued, longest)
	case c.Issued > at+slack:
		return errors.New("it is issued in the future: check the clocks")
	case at >= c.Expires+slack:
		return fmt.Errorf("it expired %d seconds ago", at-c.Expires)
	}
	return nil
}
