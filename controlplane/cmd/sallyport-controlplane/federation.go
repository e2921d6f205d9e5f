package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/controlplane"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// federates is another trust domain and where its bundle is published.
type federates struct {
	// TrustDomain of the bundle.
	TrustDomain string `yaml:"trustDomain"`
	// Endpoint where it is published (SPIFFE Federation, section 5.1).
	Endpoint struct {
		// URL of scheme https.
		URL string `yaml:"url"`
		// Profile is https_spiffe or https_web.
		Profile string `yaml:"profile"`
		// ID is the endpoint's SPIFFE ID, for https_spiffe alone.
		ID string `yaml:"id"`
	} `yaml:"endpoint"`
}

// controlPlaneAt is where an authority finds the control plane.
type controlPlaneAt struct {
	// Address is its host:port.
	Address string `yaml:"address"`
	// ID is its SPIFFE ID.
	ID string `yaml:"id"`
}

// bundleEndpoint is where an authority publishes its bundle. With certificate and
// key, which are files, the profile is https_web, with neither https_spiffe.
type bundleEndpoint struct {
	// Listen is the host:port.
	Listen string `yaml:"listen"`
	// Path of the bundle; "/" if empty.
	Path string `yaml:"path"`
	// Certificate of the Web, with its chain, in PEM. Read again when it changes.
	Certificate string `yaml:"certificate"`
	// Key of the certificate, in PEM.
	Key string `yaml:"key"`
}

// bundlesFile is the configuration file of `bundles`.
type bundlesFile struct {
	// WorkloadAPI is where its SVID comes from; SPIFFE_ENDPOINT_SOCKET if empty.
	WorkloadAPI string `yaml:"workloadApi"`
	// Issuer is the trust domain and where its issuer publishes its bundle.
	Issuer federates `yaml:"issuer"`
	// ControlPlane carries the bundle.
	ControlPlane *controlPlaneAt `yaml:"controlPlane"`
}

func readBundles(path string) (controlplane.BundlesConfig, error) {
	var file bundlesFile
	if err := decode(path, &file); err != nil {
		return controlplane.BundlesConfig{}, err
	}
	f := &faults{path: path}
	at, err := file.Issuer.parse()
	f.add("issuer", err)
	if file.ControlPlane == nil {
		f.add("controlPlane", errors.New("must be set: it is who the bundle is published to"))
	}
	return controlplane.BundlesConfig{WorkloadAPI: file.WorkloadAPI, Endpoint: at, ControlPlane: f.controlPlane(file.ControlPlane)}, f.join()
}

func (e federates) parse() (federation.Endpoint, error) {
	return federation.ParseEndpoint(&configv1.BundleEndpoint{
		TrustDomain: e.TrustDomain, Url: e.Endpoint.URL, Profile: e.Endpoint.Profile, Id: e.Endpoint.ID,
	})
}

func (f *faults) federates(all []federates) []federation.Endpoint {
	endpoints := make([]federation.Endpoint, 0, len(all))
	seen := map[string]bool{}
	for i, e := range all {
		at, err := e.parse()
		if err == nil && seen[e.TrustDomain] {
			err = fmt.Errorf("%s is there twice", e.TrustDomain)
		}
		seen[e.TrustDomain] = true
		f.add(fmt.Sprintf("federates[%d]", i), err)
		endpoints = append(endpoints, at)
	}
	return endpoints
}

func (f *faults) controlPlane(at *controlPlaneAt) controlplane.ControlPlaneAddress {
	if at == nil {
		return controlplane.ControlPlaneAddress{}
	}
	f.address("controlPlane.address", at.Address)
	id, err := spiffeid.FromString(at.ID)
	f.add("controlPlane.id", err)
	return controlplane.ControlPlaneAddress{Address: at.Address, ID: id}
}

const bundlesHelp = `Publish the bundle of an issuer that is no authority of ours, such as a SPIRE
server, to the control plane. Its keys stay where they are: what is published is
signed by an SVID of spiffe://TRUST-DOMAIN/sallyport/authority/NAME, which the
issuer gives to this process alone, and the bundle of the control plane's trust
domain must come with it.

The configuration, YAML or JSON:

  workloadApi: unix:///run/spire/agent.sock # SPIFFE_ENDPOINT_SOCKET if absent
  issuer:                                   # whose bundle, and where it publishes it
    trustDomain: gcp.example
    endpoint: {url: https://spire.gcp.example:8443/, profile: https_spiffe, id: spiffe://gcp.example/spire/server}
  controlPlane: {address: cp.example:8444, id: spiffe://mesh.example/sallyport/controlplane/cp-1}

It keeps each SVID until it ends, and signs with the last one under each root, so
that a root which is used too early locks nobody out.`

func (f *flags) runBundles(ctx context.Context) error {
	log, err := f.logger()
	if err != nil {
		return err
	}
	cfg, err := readBundles(f.config)
	if err != nil {
		return refusedError{err}
	}
	cfg.Log, cfg.Ready = log, func() { tellReady(log) }
	return controlplane.RunBundles(ctx, cfg)
}

func (f *faults) address(where, address string) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		f.add(where, fmt.Errorf("%q is not HOST:PORT", address))
	}
}

func (f *faults) endpoints(all []bundleEndpoint) []controlplane.BundleEndpoint {
	endpoints := make([]controlplane.BundleEndpoint, 0, len(all))
	for i, e := range all {
		where := fmt.Sprintf("bundleEndpoints[%d]", i)
		f.address(where+".listen", e.Listen)
		if (e.Certificate == "") != (e.Key == "") {
			f.add(where, errors.New("certificate and key go together"))
		}
		if e.Path != "" && e.Path[0] != '/' {
			f.add(where+".path", fmt.Errorf("%q does not begin with /", e.Path))
		}
		endpoints = append(endpoints, controlplane.BundleEndpoint{
			Listen: e.Listen, Path: e.Path, Certificate: f.resolve(e.Certificate), Key: f.resolve(e.Key),
		})
	}
	return endpoints
}
