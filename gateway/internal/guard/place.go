package guard

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// Bounds of what a bootstrap file may say, and what counts if it says nothing.
const (
	defaultTimeout = 5 * time.Second
	maxTimeout     = time.Minute
	defaultContent = 1 << 20
	maxContent     = 64 << 20
	defaultAtOnce  = 16
	maxAtOnce      = 1024
	maxHead        = 16 << 10 // bytes of an answer's head
)

// Place is where a guard is, and how it is asked.
type Place struct {
	URL          *url.URL
	ID           spiffeid.ID // of the guard, for https; else zero
	Timeout      time.Duration
	ContentBytes uint64 // the most that it is shown
	AtOnce       uint32 // questions under way
}

// ParsePlace reads what a bootstrap file says of a guard. An error begins with the field.
// A content goes where nobody else hears it alone: to this host, or by TLS to a program
// whose SPIFFE ID is known.
func ParsePlace(c *configv1.Guard) (Place, error) {
	p := Place{
		Timeout:      defaultTimeout,
		ContentBytes: cmp.Or(c.GetContentBytes(), defaultContent), AtOnce: cmp.Or(c.GetAtOnce(), defaultAtOnce),
	}
	if c.GetTimeout() != nil {
		p.Timeout = c.GetTimeout().AsDuration()
	}
	switch {
	case c.GetTimeout().CheckValid() != nil && c.GetTimeout() != nil, p.Timeout <= 0, p.Timeout > maxTimeout:
		return p, fmt.Errorf("timeout: want more than 0 s and %s at most", maxTimeout)
	case p.ContentBytes > maxContent:
		return p, fmt.Errorf("contentBytes: want %d at most, not %d", maxContent, p.ContentBytes)
	case p.AtOnce > maxAtOnce:
		return p, fmt.Errorf("atOnce: want %d at most, not %d", maxAtOnce, p.AtOnce)
	}
	var err error
	if p.URL, err = url.Parse(c.GetUrl()); err != nil || p.URL.User != nil || p.URL.Fragment != "" || p.URL.RawQuery != "" {
		return p, errors.New("url: want http://127.0.0.1:PORT/PATH, unix:///PATH or https://HOST/PATH") // it may be a secret
	}
	return p, p.known(c.GetId())
}

// known holds that what is shown to the guard nobody else hears.
func (p *Place) known(id string) (err error) {
	switch p.URL.Scheme {
	case "https":
		if p.ID, err = spiffeid.FromString(id); err != nil {
			return fmt.Errorf("id: want the guard's SPIFFE ID: %w", err)
		}
		if p.URL.Hostname() == "" {
			return errors.New("url: want https://HOST/PATH")
		}
		return nil
	case "unix":
		if !filepath.IsAbs(p.URL.Path) || p.URL.Host != "" {
			return errors.New("url: want unix:///PATH of a socket")
		}
	case "http":
		if a, err := netip.ParseAddr(p.URL.Hostname()); err != nil || !a.IsLoopback() {
			return errors.New("url: http is for a loopback address, such as 127.0.0.1, alone; use https with an id, or a Unix socket")
		}
	default:
		return errors.New("url: want http on a loopback address, unix or https")
	}
	if id != "" {
		return errors.New("id: only over https does a guard show who it is")
	}
	return nil
}

// New makes guards that are at those places. The gateway shows its SVID, of source, to
// those that it asks by TLS.
func New(places map[string]Place, source *certs.Source) *Guards {
	g := &Guards{by: make(map[string]*place, len(places))}
	for name, p := range places {
		t := &http.Transport{
			DisableCompression: true, MaxResponseHeaderBytes: maxHead,
			MaxIdleConnsPerHost: int(p.AtOnce), IdleConnTimeout: time.Minute,
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 alone
		}
		at := p.URL.String()
		switch p.URL.Scheme {
		case "https":
			t.TLSClientConfig = certs.ClientTLS(source, certs.AuthorizeID(p.ID), "http/1.1")
		case "unix":
			socket := p.URL.Path
			at = "http://guard/"
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", socket)
			}
		}
		g.by[name] = &place{
			Place: p, url: at, slots: make(chan struct{}, p.AtOnce),
			client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		}
	}
	return g
}

// Close lets go of idle connections.
func (g *Guards) Close() {
	if g == nil {
		return
	}
	for _, p := range g.by {
		p.client.CloseIdleConnections()
	}
}
