package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	// maxChain is how many certificates a peer may show: its SVID and what signs
	// it, which are two or three nearly everywhere. Whoever holds a good SVID could
	// else make others look for paths through as many as fit into a handshake.
	maxChain = 8
	// maxChainBytes bounds them together, because a connection keeps them for as
	// long as it lives. crypto/tls takes 256 KiB.
	maxChainBytes = 64 << 10
	// maxID is the longest SPIFFE ID that anybody has to take, in bytes (SPIFFE-ID,
	// section 2.3).
	maxID = 2048
	// minRSA is the shortest modulus that is worth 112 bits of strength (NIST SP
	// 800-57, part 1, table 2). crypto/tls takes none above 8192.
	minRSA = 2048
)

// checkShown holds the size of what a peer showed, before anything is made of it.
func checkShown(chain []*x509.Certificate) error {
	if len(chain) > maxChain {
		return fmt.Errorf("%w: a chain of %d certificates, the limit is %d", ErrUntrusted, len(chain), maxChain)
	}
	size := 0
	for _, c := range chain {
		size += len(c.Raw)
	}
	if size > maxChainBytes {
		return fmt.Errorf("%w: a chain of %d bytes, the limit is %d", ErrUntrusted, size, maxChainBytes)
	}
	return nil
}

// checkKeys holds every key of a chain that verified, its root's too.
func checkKeys(chain []*x509.Certificate) error {
	for i, c := range chain {
		if err := checkKey(c.PublicKey); err != nil {
			return fmt.Errorf("%w: certificate %d of its chain: %w", ErrUntrusted, i+1, err)
		}
	}
	return nil
}

// checkKey refuses a key under which a signature proves little.
func checkKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA {
			return fmt.Errorf("an RSA key of %d bits, the least is %d", bits, minRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return fmt.Errorf("a key on the curve %s", key.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("a key of type %T", key)
}

// checkID holds that an ID names a workload.
func checkID(id spiffeid.ID) error {
	if n := len(id.String()); n > maxID {
		return fmt.Errorf("%w: a SPIFFE ID of %d bytes, the limit is %d", ErrNotSPIFFE, n, maxID)
	}
	if id.Path() == "" {
		return fmt.Errorf("%w: %s has no path", ErrNotSPIFFE, id)
	}
	return nil
}
