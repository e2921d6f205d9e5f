package authority

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
	"github.com/sallyport-mesh/sallyport/certs/authority/ca"
	"github.com/sallyport-mesh/sallyport/certs/authority/issued"
	"github.com/sallyport-mesh/sallyport/certs/internal/issuer"
)

// errNoIdentity is all that a process learns which may have nothing.
var errNoIdentity = status.Error(codes.PermissionDenied, "no identity issued")

// caller is a process that was attested, and the entries that it satisfies.
type caller struct {
	a       *Authority
	peer    *attest.Peer
	found   attest.Process
	socket  string
	entries []*entry
}

// entitled are the entries that the caller may have SVIDs of now: it is still the
// process that was attested, and the policy registers them. One is enough; with
// none the caller is refused.
func (c *caller) entitled() ([]*entry, error) {
	if err := c.peer.Still(&c.found); err != nil {
		c.a.log.Warn("workload refused", zap.Int32("pid", c.found.PID), zap.Uint32("uid", c.found.UID), zap.Error(err))
		return nil, errNoIdentity
	}
	var entries []*entry
	for _, e := range c.entries {
		if err := c.a.registered(e.ID); err != nil {
			c.a.log.Warn("workload is not registered", zap.Stringer("id", e.ID), zap.Error(err))
			continue
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil, errNoIdentity
	}
	return entries, nil
}

func (a *Authority) registered(id spiffeid.ID) error {
	if a.cfg.Registry == nil {
		return nil
	}
	return a.cfg.Registry.Check(id)
}

// held is an X509-SVID that a caller has.
type held struct {
	svid    *x509svid.SVID
	root    uint64
	renewAt time.Time
}

// x509 gives each entry's SVID: the one that the caller has, or a new one at half
// of its life or under another root.
func (c *caller) x509(entries []*entry, had map[spiffeid.ID]*held) (map[spiffeid.ID]*held, error) {
	now := c.a.now()
	active := c.a.ca.View().Active()
	has := make(map[spiffeid.ID]*held, len(entries))
	var made []issued.Entry
	for _, e := range entries {
		if h := had[e.ID]; h != nil && h.root == active.Number && now.Before(h.renewAt) {
			has[e.ID] = h
			continue
		}
		svid, err := active.Issuer.X509SVID(e.ID, e.DNSNames, now, c.a.cfg.X509TTL)
		if err != nil {
			return nil, err
		}
		left := min(c.a.cfg.X509TTL, svid.Certificates[0].NotAfter.Sub(now))
		has[e.ID] = &held{svid, active.Number, now.Add(max(left/2, time.Second))}
		made = append(made, c.attested(x509Entry(active, svid, now)))
	}
	if len(made) == 0 {
		return has, nil
	}
	return has, c.a.issued.Append(made...)
}

// jwt makes a JWT-SVID of each entry.
func (c *caller) jwt(entries []*entry, audience []string) ([]*issuer.JWT, error) {
	now := c.a.now()
	active := c.a.ca.View().Active()
	svids := make([]*issuer.JWT, 0, len(entries))
	made := make([]issued.Entry, 0, len(entries))
	for _, e := range entries {
		svid, err := active.Issuer.JWTSVID(e.ID, audience, now, c.a.cfg.JWTTTL)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256([]byte(svid.Token))
		svids = append(svids, svid)
		made = append(made, c.attested(issued.Entry{
			Time: now.UTC(), Kind: issued.JWT, ID: e.ID.String(), Serial: svid.JTI,
			Digest: "sha256:" + hex.EncodeToString(sum[:]), NotAfter: svid.Expiry.UTC(), Audience: audience,
			Root: active.Number, By: active.Issuer.JWTKeyID(),
		}))
	}
	return svids, c.a.issued.Append(made...)
}

// x509Entry is an X509-SVID in the issuing log.
func x509Entry(g *ca.Generation, svid *x509svid.SVID, now time.Time) issued.Entry {
	leaf := svid.Certificates[0]
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return issued.Entry{
		Time: now.UTC(), Kind: issued.X509, ID: svid.ID.String(), Serial: fmt.Sprintf("%x", leaf.SerialNumber),
		Digest: certs.Fingerprint(leaf), NotAfter: leaf.NotAfter, DNSNames: names,
		Root: g.Number, By: certs.Fingerprint(g.Issuer.By()),
	}
}

// attested adds to whom it was issued.
func (c *caller) attested(e issued.Entry) issued.Entry {
	e.Socket, e.PID, e.Attested = c.socket, c.found.PID, c.found.Facts()
	return e
}
