package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/certs/federation"
)

// bundlePoll is how often the files of federated bundles are looked at. A file
// may come over any way of copying files, so there is nothing to wait on.
const bundlePoll = 2 * time.Second

// AuthorityConfig is what an environment's authority is made of.
type AuthorityConfig struct {
	// Authority is the issuer. Its Log is the one below.
	Authority authority.Config
	// Federated names, for each other trust domain, the file of its SPIFFE bundle
	// document. Files are read again within two seconds of a change; one that is
	// missing or wrong leaves that domain's last good bundle in force, and is told
	// in the log.
	//
	// A file is where federation begins: what comes afterwards from endpoints and
	// over the control channel takes its place. It is the operator's way to begin
	// anew, too, where neither is heard any more.
	Federated map[spiffeid.TrustDomain]string
	// Policy, if it is there, has the last word on which workloads get an SVID;
	// names below /sallyport/ need none.
	Policy *PolicyFile
	// Federation are bundle endpoints of other trust domains.
	Federation []federation.Endpoint
	// ControlPlane is who carries signed bundles; nobody if its address is empty.
	ControlPlane ControlPlaneAddress
	// Endpoints are where this trust domain's bundle is published.
	Endpoints []BundleEndpoint
	// Log takes the log; nil for none.
	Log *zap.Logger
}

// Authority is the authority role: one environment's issuer and Workload API. It
// is run by its environment, never by the control plane, whose theft must not be
// everyone's.
type Authority struct {
	config    AuthorityConfig
	issuer    *authority.Authority
	files     map[spiffeid.TrustDomain]*bundleFile
	keeper    *federation.Keeper
	publisher *federation.Publisher
	endpoints []*federation.EndpointServer
	policy    *registry // nil if there is none
	fault     string    // of the policy, as last logged
	log       *zap.Logger
}

// bundleFile is a bundle's file as it was last read.
type bundleFile struct {
	path   string
	data   []byte
	bundle *spiffebundle.Bundle // nil until it was once good
	fault  string               // as last logged
}

// NewAuthority makes the keys if there are none yet and binds the sockets.
func NewAuthority(c AuthorityConfig) (*Authority, error) {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	a := &Authority{config: c, log: c.Log.Named("authority"), files: map[spiffeid.TrustDomain]*bundleFile{}}
	for td, path := range c.Federated {
		if td == c.Authority.TrustDomain {
			return nil, fmt.Errorf("federate %s: it is the authority's own trust domain", td)
		}
		a.files[td] = &bundleFile{path: path}
	}
	if c.Policy != nil {
		r, err := newRegistry(*c.Policy, filepath.Join(c.Authority.Dir, "policy.floor"))
		if err != nil {
			return nil, err
		}
		a.policy, c.Authority.Registry = r, r
	}
	c.Authority.Log = c.Log // it names itself
	issuer, err := authority.New(c.Authority)
	if err != nil {
		return nil, err
	}
	a.issuer = issuer
	if err := a.federate(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// Run serves the Workload API, publishes the own bundle and follows those of others
// until ctx ends.
func (a *Authority) Run(ctx context.Context) error {
	a.refresh() // before anybody is served
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.issuer.Run(ctx) })
	group.Go(func() error { return a.follow(ctx) })
	a.runFederation(ctx, group)
	return group.Wait()
}

func (a *Authority) follow(ctx context.Context) error {
	if len(a.files) == 0 && a.policy == nil {
		return nil
	}
	tick := time.NewTicker(bundlePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.refresh()
		}
	}
}

// refresh reads the files and hands on those that changed.
func (a *Authority) refresh() {
	a.refreshPolicy()
	for td, f := range a.files {
		changed, err := f.read(td)
		if changed {
			if err = a.keeper.Local(td, f.data); err != nil {
				f.data = nil // it may count later, when nobody else is heard
			}
		}
		a.note(td, f, err)
	}
}

// refreshPolicy logs a fault once, not every two seconds.
func (a *Authority) refreshPolicy() {
	if a.policy == nil {
		return
	}
	fault := ""
	if err := a.policy.refresh(); err != nil {
		if fault = err.Error(); fault != a.fault {
			a.log.Error("policy cannot be read", zap.Bool("last_good_in_force", a.policy.data != nil), zap.Error(err))
		}
	}
	a.fault = fault
}

// note logs a fault once, not every two seconds.
func (a *Authority) note(td spiffeid.TrustDomain, f *bundleFile, err error) {
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if fault != f.fault && fault != "" {
		a.log.Error("federated bundle cannot be read", zap.Stringer("trust_domain", td),
			zap.Bool("last_good_in_force", f.bundle != nil), zap.Error(err))
	}
	f.fault = fault
}

// read reads the file and says whether its bundle is another than before.
func (f *bundleFile) read(td spiffeid.TrustDomain) (changed bool, err error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return false, err
	}
	if f.bundle != nil && bytes.Equal(data, f.data) {
		return false, nil
	}
	bundle, err := spiffebundle.Parse(td, data)
	if err != nil {
		return false, fmt.Errorf("read bundle %q: %w", f.path, err)
	}
	if len(bundle.X509Authorities()) == 0 {
		return false, fmt.Errorf("read bundle %q: there is no X.509 authority in it", f.path)
	}
	f.data, f.bundle = data, bundle
	return true, nil
}
