package trust

import (
	"cmp"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/note"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// Bounds of a signed bundle (certs/federation/FORMAT.md, "Who accepts").
const (
	maxDocument          = 1 << 18
	maxAuthorities       = 64
	maxSignatures        = 8
	maxBundleCertificate = 8192
	maxBundleChain       = 4
)

// bundle is a trust domain's roots, as its authority said at a time.
type bundle struct {
	signed time.Time
	roots  []*x509.Certificate
}

// roots are those of a trust domain that counted at a time: those of the keys file, and
// those of every bundle that was not replaced before then. Of the zero time, all.
func (b *Book) roots(td string, at time.Time) (all []*x509.Certificate) {
	all = slices.Clone(b.file.Roots(td))
	bundles := b.bundles[td]
	for i, one := range bundles {
		if i+1 < len(bundles) && bundles[i+1].signed.Before(at) {
			continue
		}
		all = append(all, one.roots...)
	}
	return all
}

// Bundle takes a signed bundle up, whose signature must lead to a root that is believed.
// Those of one trust domain come in the order in which they were signed. The error is
// keys.ErrNoKey if there is no root by which to judge it.
func (b *Book) Bundle(m *wire.Message) error {
	td, document := m.Text("trustDomain"), m.Bytes("document")
	signatures := m.Subs("signatures")
	switch {
	case !spiffe.IsTrustDomain(td) || len(td) > 200:
		return errors.New("its trust domain is none")
	case len(document) > maxDocument:
		return fmt.Errorf("a document of %d bytes, the most are %d", len(document), maxDocument)
	case len(signatures) == 0 || len(signatures) > maxSignatures:
		return fmt.Errorf("%d signatures, want 1 to %d", len(signatures), maxSignatures)
	}
	roots, err := authorities(document)
	if err != nil {
		return err
	}
	var faults []error
	for _, s := range signatures {
		signed, err := b.vouched(td, document, s)
		if err == nil {
			b.bundles[td] = append(b.bundles[td], bundle{signed, roots})
			slices.SortStableFunc(b.bundles[td], func(x, y bundle) int { return x.signed.Compare(y.signed) })
			return nil
		}
		faults = append(faults, err)
	}
	slices.SortFunc(faults, func(x, y error) int { // that it cannot be told comes last
		return cmp.Compare(weight(x), weight(y))
	})
	return faults[0]
}

func weight(err error) int {
	if errors.Is(err, keys.ErrNoKey) {
		return 1
	}
	return 0
}

// vouched holds that one signature is that of an authority of the trust domain, and gives
// when it signed.
func (b *Book) vouched(td string, document []byte, s *wire.Message) (signed time.Time, err error) {
	seconds := int64(s.Uint("signedAt"))
	signed = time.Unix(seconds, 0).UTC()
	chain := s.List("chain")
	if len(chain) == 0 || len(chain) > maxBundleChain || len(s.Bytes("signature")) > maxSignature {
		return signed, errors.New("its signature is out of bounds")
	}
	certificates, err := parseChain(chain, maxBundleCertificate)
	if err != nil {
		return signed, err
	}
	svid := certificates[0]
	if len(svid.URIs) != 1 {
		return signed, errors.New("its SVID has not one URI")
	}
	name, is := strings.CutPrefix(svid.URIs[0].String(), "spiffe://"+td+"/sallyport/authority/")
	if !is || name == "" || strings.Contains(name, "/") {
		return signed, fmt.Errorf("it is signed by %s, which is no authority of %s", svid.URIs[0], td)
	}
	if err := isSVID(svid, svid.URIs[0].String()); err != nil {
		return signed, err
	}
	message := append([]byte("sallyport.bundle.v1\n"), binary.BigEndian.AppendUint32(nil, uint32(len(td)))...)
	message = binary.BigEndian.AppendUint64(append(message, td...), uint64(seconds))
	message = append(binary.BigEndian.AppendUint32(message, uint32(len(document))), document...)
	if err := checkSignature(svid, message, s.Bytes("signature")); err != nil {
		return signed, err
	}
	return signed, b.judge(certificates, td, signed)
}

// authorities are the X.509 authorities of a SPIFFE bundle document (SPIFFE Trust Domain
// and Bundle, section 4).
func authorities(document []byte) (roots []*x509.Certificate, err error) {
	var set struct {
		Keys []struct {
			Use string   `json:"use"`
			X5C []string `json:"x5c"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("its document: %w", err)
	}
	for _, k := range set.Keys {
		if k.Use != "x509-svid" {
			continue
		}
		if len(k.X5C) != 1 || len(roots) == maxAuthorities {
			return nil, errors.New("its document has an authority that is none, or too many")
		}
		der, err := note.Decode(k.X5C[0])
		if err != nil {
			return nil, fmt.Errorf("its document: %w", err)
		}
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("its document: %w", err)
		}
		roots = append(roots, root)
	}
	return roots, nil
}
