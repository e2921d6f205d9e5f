package localmesh

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/controlplane"
)

// startAuthorities starts an authority for each trust domain and gives each
// the bundles of the others, as their owners would.
func (m *Mesh) startAuthorities(context.Context) error {
	m.authorities = map[string]*controlplane.Authority{}
	all := append([]string{mesh}, environments...)
	for _, env := range all {
		federated := map[spiffeid.TrustDomain]string{}
		for _, other := range all {
			if other != env {
				federated[trustDomain(other)] = filepath.Join(m.layout.authority(other), "bundle.json")
			}
		}
		a, err := controlplane.NewAuthority(controlplane.AuthorityConfig{
			Authority: authority.Config{
				TrustDomain: trustDomain(env),
				Dir:         m.layout.authority(env),
				Entries:     m.entries(env),
				X509TTL:     m.cfg.X509TTL,

				IntermediateLife: m.cfg.IntermediateLife,
			},
			Federated: federated,
			Log:       m.cfg.Log.Named(env),
		})
		if err != nil {
			return fmt.Errorf("authority of %s: %w", env, err)
		}
		m.authorities[env] = a
	}
	for _, a := range m.authorities { // all have made their bundles by now
		m.issuing.run(m.fail, a.Run)
	}
	return nil
}

// entries are who may get an identity in an environment.
func (m *Mesh) entries(env string) []authority.Entry {
	var entries []authority.Entry
	for name, who := range identities {
		if who.environment != env {
			continue
		}
		e := authority.Entry{ID: ID(name), Socket: m.layout.socket(name)}
		if name == env+"-1" {
			e.DNSNames = namesAt(name, env)
		}
		entries = append(entries, e)
	}
	for name, at := range m.cfg.Gateways {
		if at == env {
			id := spiffeid.RequireFromSegments(trustDomain(env), "sallyport", "gateway", name)
			entries = append(entries, authority.Entry{ID: id, Socket: m.layout.socket(name), DNSNames: namesAt(name, env)})
		}
	}
	return entries
}

// namesAt are what a gateway's SVID carries: the names that workloads of its environment
// call others by.
func namesAt(gateway, env string) []string {
	names := []string{"localhost", "127.0.0.1", gateway + "." + env + ".mesh"}
	for _, other := range environments {
		if other != env {
			names = append(names, "*."+other+".mesh")
		}
	}
	return names
}

// joinAuthorities has each authority publish its bundle to the control plane, and
// hear of the others' there.
func (m *Mesh) joinAuthorities(context.Context) error {
	at := controlplane.ControlPlaneAddress{Address: m.plane, ID: ID("controlplane")}
	for _, a := range m.authorities {
		m.controlling.run(m.fail, func(ctx context.Context) error { return a.Join(ctx, at) })
	}
	return nil
}

// Authority is the issuer of an environment, "mesh" the control plane's.
func (m *Mesh) Authority(environment string) *authority.Authority {
	return m.authorities[environment].Issuer()
}

// CABundle is an environment's trust domain's root certificates, for clients
// that know nothing of SPIFFE.
func (m *Mesh) CABundle(environment string) []byte {
	var out []byte
	for _, cert := range m.authorities[environment].Issuer().Bundle().X509Authorities() {
		out = append(out, encodeCertificate(cert.Raw)...)
	}
	return out
}
