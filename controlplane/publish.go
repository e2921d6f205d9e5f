package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/certs/federation"
)

// ControlPlaneAddress is where a control plane is and how it is known.
type ControlPlaneAddress struct {
	// Address is its host:port.
	Address string
	// ID is its SPIFFE ID, of a trust domain that the authority federates with or
	// of its own.
	ID spiffeid.ID
}

// BundleEndpoint is where an authority publishes its bundle (SPIFFE Federation,
// section 5).
type BundleEndpoint struct {
	// Listen is the host:port.
	Listen string
	// Path of the bundle; "/" if empty.
	Path string
	// Certificate and Key are files, in PEM, of a certificate of the Web: with them
	// the profile is https_web. With neither it is https_spiffe, and the endpoint is
	// the authority itself.
	Certificate, Key string
}

var _ federation.Authority = (*authority.Authority)(nil)

// federate makes what keeps the bundles of others and publishes one's own.
func (a *Authority) federate() error {
	td := a.config.Authority.TrustDomain
	peers := trustDomains(a.config.Federation)
	for peer := range a.files {
		peers = append(peers, peer)
	}
	var err error
	a.keeper, err = federation.Open(federation.Config{
		Self: td, Peers: peers, Dir: filepath.Join(a.config.Authority.Dir, keptBundles), OnChange: a.tell, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.tell()
	if a.config.ControlPlane.Address == "" && len(a.config.Endpoints) == 0 {
		return nil // nobody would hear what is signed
	}
	if a.publisher, err = federation.NewPublisher(a.issuer, a.log); err != nil {
		return err
	}
	for i, e := range a.config.Endpoints {
		if err := a.serveBundle(e); err != nil {
			return fmt.Errorf("endpoints[%d]: %w", i, err)
		}
	}
	return nil
}

// tell gives the issuer the bundles that are held, for its workloads.
func (a *Authority) tell() { a.issuer.SetFederated(a.keeper.Bundles()...) }

func (a *Authority) serveBundle(e BundleEndpoint) error {
	certificate := a.publisher.Certificate
	if e.Certificate != "" || e.Key != "" {
		var err error
		if certificate, err = federation.WebCertificate(e.Certificate, e.Key, a.log); err != nil {
			return err
		}
	}
	server, err := federation.NewEndpointServer(federation.EndpointConfig{
		Listen: e.Listen, Path: e.Path, TrustDomain: a.config.Authority.TrustDomain,
		Bundle: a.issuer.Bundle, Certificate: certificate, Log: a.log,
	})
	if err == nil {
		a.endpoints = append(a.endpoints, server)
	}
	return err
}

// close lets go of what is not run.
func (a *Authority) close() error {
	var errs []error
	for _, e := range a.endpoints {
		errs = append(errs, e.Close())
	}
	// An authority that is run and told to stop closes what New opened.
	stopped, stop := context.WithCancel(context.Background())
	stop()
	return errors.Join(append(errs, a.issuer.Run(stopped))...)
}

// runFederation runs in a group what federate made.
func (a *Authority) runFederation(ctx context.Context, group *errgroup.Group) {
	follower := federation.Follower{Keeper: a.keeper, Endpoints: a.config.Federation, Log: a.log}
	group.Go(func() error { return follower.Run(ctx) })
	if a.publisher != nil {
		group.Go(func() error { return a.publisher.Run(ctx) })
	}
	if at := a.config.ControlPlane; at.Address != "" {
		group.Go(func() error { return a.channel(ctx, at, a.publisher).Run(ctx) })
	}
	for _, e := range a.endpoints {
		group.Go(func() error { return e.Run(ctx) })
	}
}

// Join keeps a channel to a control plane until ctx ends: it hands over this trust
// domain's signed bundle, and takes in those of others. Run does so with the control
// plane of the configuration; this is for one whose address is known later.
func (a *Authority) Join(ctx context.Context, at ControlPlaneAddress) error {
	p, err := federation.NewPublisher(a.issuer, a.log)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.Run(ctx) })
	group.Go(func() error { return a.channel(ctx, at, p).Run(ctx) })
	return group.Wait()
}

// channel is one to a control plane, which is asked who holds the bundle before a
// root is used or dropped.
func (a *Authority) channel(ctx context.Context, at ControlPlaneAddress, p *federation.Publisher) *federation.Channel {
	c := &federation.Channel{Address: at.Address, ID: at.ID, Publisher: p, Keeper: a.keeper, Log: a.log}
	a.issuer.SetFollowers(func(sequence uint64) ([]string, error) { return c.Lacking(ctx, sequence) })
	return c
}

// Issuer is the issuer that the authority runs.
func (a *Authority) Issuer() *authority.Authority { return a.issuer }
