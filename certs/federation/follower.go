package federation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// The profiles of bundle endpoints (SPIFFE Federation, section 5.2).
const (
	ProfileSPIFFE = "https_spiffe"
	ProfileWeb    = "https_web"
)

// fetchTimeout bounds one look at an endpoint, from dialling on.
const fetchTimeout = 10 * time.Second

// Endpoint is where a trust domain's bundle is published, and by what the endpoint
// is known. Make it with ParseEndpoint.
type Endpoint struct {
	td      spiffeid.TrustDomain
	url     string
	profile string
	id      spiffeid.ID // zero with https_web
}

// ParseEndpoint checks an endpoint as it is configured.
func ParseEndpoint(e *configv1.BundleEndpoint) (Endpoint, error) {
	td, err := spiffeid.TrustDomainFromString(e.GetTrustDomain())
	faults := []error{err}
	u, err := url.Parse(e.GetUrl())
	switch {
	case err != nil:
		faults = append(faults, err)
	case u.Scheme != "https" || u.Host == "" || u.User != nil:
		faults = append(faults, fmt.Errorf("url %q: want https://HOST/PATH, and nobody's name in it", e.GetUrl()))
	}
	at := Endpoint{td: td, url: e.GetUrl(), profile: e.GetProfile()}
	switch {
	case at.profile == ProfileSPIFFE:
		at.id, err = spiffeid.FromString(e.GetId())
		faults = append(faults, err)
	case at.profile != ProfileWeb:
		faults = append(faults, fmt.Errorf("profile %q: want %s or %s", at.profile, ProfileSPIFFE, ProfileWeb))
	case e.GetId() != "":
		faults = append(faults, fmt.Errorf("id: an endpoint of %s has none", ProfileWeb))
	}
	return at, errors.Join(faults...)
}

// TrustDomain is whose bundle is published there.
func (e Endpoint) TrustDomain() spiffeid.TrustDomain { return e.td }

// Follower keeps a keeper's bundles those that the endpoints publish.
type Follower struct {
	// Keeper takes what is fetched, and knows the roots of endpoints that show an
	// SVID.
	Keeper *Keeper
	// Endpoints to follow.
	Endpoints []Endpoint
	// Own knows the roots of endpoints of one's own trust domain, which the keeper
	// does not; nil if there are none such.
	Own x509bundle.Source
	// Roots are those of endpoints of the Web; the system's if nil.
	Roots *x509.CertPool
	// Dial is how to reach them; by TCP if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Log may be nil.
	Log *zap.Logger
}

// Run follows all endpoints until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	log := f.Log
	if log == nil {
		log = zap.NewNop()
	}
	log = log.Named("federation")
	var all sync.WaitGroup
	for _, e := range f.Endpoints {
		all.Go(func() { f.follow(ctx, e, log.With(zap.Stringer("trust_domain", e.td), zap.String("url", e.url))) })
	}
	all.Wait()
	return nil
}

// follow looks at an endpoint as often as its bundle's hint says, a little more
// often at random so that not all come at once. After a failure it looks sooner,
// but never more often than minHint.
func (f *Follower) follow(ctx context.Context, e Endpoint, log *zap.Logger) {
	again := minHint
	for failed := false; ; {
		err := f.fetch(ctx, e)
		wait := f.hint(e.td)
		if err != nil {
			if ctx.Err() == nil && !failed {
				log.Warn("bundle not fetched", zap.Error(err))
			}
			wait, again = min(again, wait), min(2*again, maxHint)
		} else {
			again = minHint
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait - rand.N(wait/5)):
		}
	}
}

// hint is that of the bundle that is held.
func (f *Follower) hint(td spiffeid.TrustDomain) time.Duration {
	if h := f.Keeper.get(td); h != nil {
		return hint(h.bundle)
	}
	return minHint
}

// fetch looks once.
func (f *Follower) fetch(ctx context.Context, e Endpoint) error {
	document, err := f.get(ctx, e)
	if err != nil {
		return err
	}
	return f.Keeper.Fetched(e.td, document)
}

// get is what an endpoint has.
func (f *Follower) get(ctx context.Context, e Endpoint) ([]byte, error) {
	client := &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			TLSClientConfig: f.tls(e), DialContext: f.Dial,
			DisableKeepAlives: true, MaxResponseHeaderBytes: endpointHeader,
		},
		// Where else a bundle may come from is for the operator to say (SPIFFE
		// Federation, section 7.5.1).
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", e.url, resp.Status)
	}
	document, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	return document, nil
}

func (f *Follower) tls(e Endpoint) *tls.Config {
	if e.profile == ProfileWeb {
		return certs.WebClientTLS(f.Roots, "http/1.1")
	}
	roots := x509bundle.Source(f.Keeper)
	if f.Own != nil && e.id.TrustDomain() == f.Keeper.self {
		roots = f.Own
	}
	return certs.PublicClientTLS(roots, certs.AuthorizeID(e.id), "http/1.1")
}
