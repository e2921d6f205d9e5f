package main

import (
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

func (f *faults) federates(all []federates) []federation.Endpoint {
	endpoints := make([]federation.Endpoint, 0, len(all))
	seen := map[string]bool{}
	for i, e := range all {
		at, err := federation.ParseEndpoint(&configv1.BundleEndpoint{
			TrustDomain: e.TrustDomain, Url: e.Endpoint.URL, Profile: e.Endpoint.Profile, Id: e.Endpoint.ID,
		})
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
