package authority

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/authority/admin"
	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
	"github.com/sallyport-mesh/sallyport/certs/authority/keys"
	"github.com/sallyport-mesh/sallyport/certs/internal/unixsock"
)

const (
	defaultX509TTL = time.Hour
	// maxJWTTTL is what the product's own verifiers accept. It is the default as
	// well: an SDK takes its API key at start and never again.
	maxJWTTTL = time.Hour
	// minX509TTL: certificates end on a whole second, up to one early, and must
	// outlast half of their life to be replaced in time.
	minX509TTL = 4 * time.Second

	defaultRootLife         = 10 * 365 * 24 * time.Hour
	defaultIntermediateLife = 30 * 24 * time.Hour
	defaultRefreshHint      = time.Minute
	defaultName             = "main"
)

// Config is what an Authority is made of.
type Config struct {
	// TrustDomain is the one trust domain that it issues for.
	TrustDomain spiffeid.TrustDomain
	// Dir holds its state and keys (mode 0600), the issuing log, and bundle.json
	// (for others). It is made if it is missing; one process has it at a time.
	Dir string
	// Name tells the authorities of a trust domain apart: OwnSVIDs are of
	// spiffe://TRUSTDOMAIN/sallyport/authority/NAME. Default "main".
	Name string
	// Keys keep the signing keys. Default: files in Dir.
	Keys keys.Store
	// Entries are who gets an SVID.
	Entries []Entry
	// Registry has the last word on who gets an SVID. Default: entries are enough.
	Registry Registry
	// Admin serves acts of its operator on the socket admin.sock in Dir, for its
	// own user and root.
	Admin bool
	// X509TTL is how long an X509-SVID lasts; it is replaced at half of it.
	// Default one hour, at least four seconds.
	X509TTL time.Duration
	// JWTTTL is how long a JWT-SVID lasts. Default and most one hour.
	JWTTTL time.Duration
	// RootLife is how long a root lasts. Default ten years, at least twice
	// IntermediateLife. It is replaced by its operator alone.
	RootLife time.Duration
	// IntermediateLife is how long an intermediate lasts; at half of it, it is
	// replaced by itself. Default 30 days, at least twice X509TTL.
	IntermediateLife time.Duration
	// RefreshHint is how often others should look for the bundle (SPIFFE Trust
	// Domain and Bundle, section 4.1.2). Default one minute.
	RefreshHint time.Duration
	// Log may be nil.
	Log *zap.Logger
}

// Entry gives one SPIFFE ID to the processes that connect to a socket and are what
// it asks for.
type Entry struct {
	// ID is of the authority's trust domain and has a path.
	ID spiffeid.ID
	// Socket is the absolute path of the Workload API's socket, at most 103
	// bytes. Entries may share one: a process gets the SVIDs of all entries that
	// it satisfies, in their order.
	Socket string
	// DNSNames are put into the X509-SVID beside the ID; IP addresses among them
	// as such.
	DNSNames []string
	// UIDs are the users who may have the SVID. With no UIDs and no Selectors it
	// is the one that this process runs under. Root is not among them unless named.
	UIDs []uint32
	// Selectors are what a process must satisfy, all of them, in the form of
	// package attest.
	Selectors []string
}

// entry is an Entry that was understood.
type entry struct {
	Entry
	asks attest.Selectors
}

// complete fills in defaults and finds all faults.
func (c *Config) complete() ([]*entry, error) {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	c.Log = c.Log.Named("authority")
	if c.Name == "" {
		c.Name = defaultName
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.X509TTL, defaultX509TTL},
		{&c.JWTTTL, maxJWTTTL},
		{&c.RootLife, defaultRootLife},
		{&c.IntermediateLife, defaultIntermediateLife},
		{&c.RefreshHint, defaultRefreshHint},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	entries, faults := c.entries()
	return entries, errors.Join(append(c.faults(), faults...)...)
}

func (c *Config) faults() []error {
	var faults []error
	if c.TrustDomain.IsZero() {
		faults = append(faults, errors.New("trust domain is missing"))
	}
	if c.Dir == "" {
		faults = append(faults, errors.New("directory is missing"))
	}
	if err := spiffeid.ValidatePathSegment(c.Name); err != nil {
		faults = append(faults, fmt.Errorf("name %q: %w", c.Name, err))
	}
	if c.Admin {
		faults = append(faults, unixsock.CheckPath(filepath.Join(c.Dir, admin.Socket)))
	}
	faults = append(faults, CheckX509TTL(c.X509TTL), CheckJWTTTL(c.JWTTTL))
	if c.IntermediateLife < 2*c.X509TTL {
		faults = append(faults, fmt.Errorf("intermediates of %s: at least twice the %s of X509-SVIDs", c.IntermediateLife, c.X509TTL))
	}
	if c.RootLife < 2*c.IntermediateLife {
		faults = append(faults, fmt.Errorf("roots of %s: at least twice the %s of intermediates", c.RootLife, c.IntermediateLife))
	}
	if c.RefreshHint < time.Second {
		faults = append(faults, fmt.Errorf("refresh hint of %s: at least a second", c.RefreshHint))
	}
	return faults
}

// CheckX509TTL says whether X509-SVIDs may last so long.
func CheckX509TTL(ttl time.Duration) error {
	if ttl < minX509TTL {
		return fmt.Errorf("X509-SVIDs of %s: at least %s", ttl, minX509TTL)
	}
	return nil
}

// CheckJWTTTL says whether JWT-SVIDs may last so long.
func CheckJWTTTL(ttl time.Duration) error {
	if ttl < time.Second || ttl > maxJWTTTL {
		return fmt.Errorf("JWT-SVIDs of %s: from a second to %s", ttl, maxJWTTTL)
	}
	return nil
}

func (c *Config) entries() (entries []*entry, faults []error) {
	for i, e := range c.Entries {
		if !e.ID.MemberOf(c.TrustDomain) || e.ID.Path() == "" {
			faults = append(faults, fmt.Errorf("entries[%d]: %q is no workload of trust domain %q", i, e.ID, c.TrustDomain.Name()))
		}
		if err := unixsock.CheckPath(e.Socket); err != nil {
			faults = append(faults, fmt.Errorf("entries[%d]: %w", i, err))
		}
		uids := e.UIDs
		if len(uids) == 0 && len(e.Selectors) == 0 {
			uids = []uint32{ownUID()}
		}
		asks, err := attest.ParseAll(uids, e.Selectors)
		if err != nil {
			faults = append(faults, fmt.Errorf("entries[%d]: %w", i, err))
		}
		entries = append(entries, &entry{e, asks})
	}
	return entries, faults
}
