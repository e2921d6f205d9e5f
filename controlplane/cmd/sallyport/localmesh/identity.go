package localmesh

import (
	"context"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"

	"github.com/sallyport-mesh/sallyport/certs/authority"
)

// startAuthorities starts an authority for each trust domain and gives each
// the bundles of the others, as their owners would.
func (m *Mesh) startAuthorities(context.Context) error {
	m.authorities = map[string]*authority.Authority{}
	var bundles []*spiffebundle.Bundle
	for _, env := range append([]string{mesh}, environments...) {
		a, err := authority.New(authority.Config{
			TrustDomain: trustDomain(env),
			Dir:         m.layout.authority(env),
			Entries:     m.entries(env),
			X509TTL:     m.cfg.X509TTL,
			Log:         m.cfg.Log.Named(env),
		})
		if err != nil {
			return fmt.Errorf("authority of %s: %w", env, err)
		}
		m.authorities[env] = a
		bundles = append(bundles, a.Bundle())
	}
	for env, a := range m.authorities {
		a.SetFederated(slices.DeleteFunc(slices.Clone(bundles), func(b *spiffebundle.Bundle) bool {
			return b.TrustDomain() == trustDomain(env)
		})...)
		m.issuing.run(m.fail, a.Run)
	}
	return nil
}

// entries are who may get an identity in an environment. A gateway's SVID
// carries the names that workloads of its environment call others by.
func (m *Mesh) entries(env string) []authority.Entry {
	var entries []authority.Entry
	for name, who := range identities {
		if who.environment != env {
			continue
		}
		e := authority.Entry{ID: ID(name), Socket: m.layout.socket(name)}
		if name == env+"-1" {
			e.DNSNames = []string{"localhost", "127.0.0.1", name + "." + env + ".mesh"}
			for _, other := range environments {
				if other != env {
					e.DNSNames = append(e.DNSNames, "*."+other+".mesh")
				}
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// CABundle is an environment's trust domain's root certificates, for clients
// that know nothing of SPIFFE.
func (m *Mesh) CABundle(environment string) []byte {
	var out []byte
	for _, cert := range m.authorities[environment].Bundle().X509Authorities() {
		out = append(out, encodeCertificate(cert.Raw)...)
	}
	return out
}
