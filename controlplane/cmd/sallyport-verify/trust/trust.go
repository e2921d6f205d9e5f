// Package trust says whose a statement key is, and for how long: what gateways have
// announced under their SVIDs, judged as of when they did, by the roots that an auditor
// believes and by what trust domains' authorities have said since
// (gateway/statement/FORMAT.md and certs/federation/FORMAT.md).
//
// The one invariant: it believes no root that a believed one did not lead to. What has
// expired since takes nothing away from what was right at its time.
package trust

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

const (
	maxCertificates = 8
	maxCertificate  = 16 << 10
	maxSignature    = 1 << 10
)

// Key is a gateway's statement key.
type Key struct {
	// Public is the key.
	Public ed25519.PublicKey
	// Until is when the last of the SVIDs that announced it ended; zero of a key that the
	// keys file names, and nobody announced.
	Until time.Time
}

// Covers says that what is dated so, by the gateway's own clock, may be signed with it.
// It may be older than the key: a gateway's next process signs again what the one before
// had.
func (k *Key) Covers(at time.Time) bool { return k.Until.IsZero() || !at.After(k.Until) }

// Timely says that what the key has signed came into a log while it was the gateway's, or
// so soon after that it was on its way.
func (k *Key) Timely(entered time.Time) bool {
	return k.Until.IsZero() || !entered.After(k.Until.Add(Grace))
}

// Grace is how long after its SVID has expired what a gateway has signed may be on its way
// to a log.
const Grace = time.Hour

// id names a key: whose it is, and its hash.
type id struct {
	gateway string
	key     [sha256.Size]byte
}

// Book is what is known of keys. The zero value is not good: use NewBook.
type Book struct {
	file    *keys.File
	keys    map[id]*Key
	bundles map[string][]bundle // by trust domain, in the order in which they were signed
	unknown map[string]bool     // trust domains of which there is no root
}

// NewBook believes a keys file.
func NewBook(f *keys.File) *Book {
	return &Book{file: f, keys: map[id]*Key{}, bundles: map[string][]bundle{}, unknown: map[string]bool{}}
}

// Key is a gateway's key of that hash. The error is keys.ErrNoKey if it cannot be told
// whose it is, and another one if the gateway has not announced it.
func (b *Book) Key(gateway string, key [sha256.Size]byte) (*Key, error) {
	if k := b.keys[id{gateway, key}]; k != nil {
		return k, nil
	}
	public, err := b.file.Gateway(gateway, key)
	if err == nil {
		return &Key{Public: public}, nil
	}
	if td, _ := spiffe.TrustDomain(gateway); !b.unknown[td] && len(b.roots(td, time.Time{})) > 0 {
		return nil, fmt.Errorf("%s has not announced the key %x", gateway, key[:4])
	}
	return nil, err
}

// Announce takes an announcement up. The error is keys.ErrNoKey if there is no root by
// which to judge it.
func (b *Book) Announce(m *wire.Message) error {
	gateway, at := m.Text("gateway"), m.Time("at")
	td, err := spiffe.TrustDomain(gateway)
	if err != nil {
		return err
	}
	public, chain := m.Bytes("key"), m.List("chain")
	switch {
	case m.Uint("algorithm") != message.Ed25519 || len(public) != ed25519.PublicKeySize:
		return errors.New("the key is none of Ed25519")
	case !statement.IsRun(m.Text("run")):
		return errors.New("its run is none")
	case len(chain) == 0 || len(chain) > maxCertificates:
		return fmt.Errorf("%d certificates, want 1 to %d", len(chain), maxCertificates)
	case len(m.Bytes("signature")) > maxSignature:
		return errors.New("its signature is too long")
	}
	certificates, err := parseChain(chain, maxCertificate)
	if err != nil {
		return err
	}
	svid := certificates[0]
	if err := isSVID(svid, gateway); err != nil {
		return err
	}
	if err := checkSignature(svid, announced(m), m.Bytes("signature")); err != nil {
		return err
	}
	if err := b.judge(certificates, td, at); err != nil {
		return err
	}
	b.extend(id{gateway, sha256.Sum256(public)}, public, svid)
	return nil
}

// extend has a key be a gateway's for as long as the SVID lasts, too.
func (b *Book) extend(name id, public []byte, svid *x509.Certificate) {
	k := b.keys[name]
	if k == nil {
		k = &Key{Public: append([]byte(nil), public...), Until: svid.NotAfter}
		b.keys[name] = k
	}
	if svid.NotAfter.After(k.Until) {
		k.Until = svid.NotAfter
	}
}

// announced is what the SVID's key signs.
func announced(m *wire.Message) []byte {
	unsigned, err := wire.Decode(message.Announcement, m.Encode())
	if err != nil {
		panic(err) // it was decoded before
	}
	unsigned.Clear("signature")
	return statement.Announced(sha256.Sum256(unsigned.Encode()))
}

// judge holds that a chain was an SVID of its trust domain at that time.
func (b *Book) judge(chain []*x509.Certificate, td string, at time.Time) error {
	roots := b.roots(td, at)
	if len(roots) == 0 {
		b.unknown[td] = true
		return fmt.Errorf("%w: it has no root of %s, and no bundle leads to one", keys.ErrNoKey, td)
	}
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, r := range roots {
		opts.Roots.AddCert(r)
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return fmt.Errorf("its SVID was none of %s at %s: %w", td, at.Format(time.RFC3339), err)
	}
	return nil
}

func parseChain(chain [][]byte, most int) ([]*x509.Certificate, error) {
	all := make([]*x509.Certificate, len(chain))
	for at, der := range chain {
		if len(der) > most {
			return nil, fmt.Errorf("certificate %d has %d bytes, the most are %d", at+1, len(der), most)
		}
		var err error
		if all[at], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate %d: %w", at+1, err)
		}
	}
	return all, nil
}

// isSVID holds that a certificate is the X509-SVID of that ID (SPIFFE X509-SVID, sections
// 2 and 4).
func isSVID(c *x509.Certificate, id string) error {
	switch {
	case len(c.URIs) != 1 || c.URIs[0].String() != id:
		return fmt.Errorf("its SVID is not of %s", id)
	case c.IsCA || c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return errors.New("its SVID may sign certificates")
	}
	return nil
}
