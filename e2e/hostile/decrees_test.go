package hostile

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	wire "encoding/binary"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// ecdsaSigner signs policies with the one key that was stolen, which is of another
// kind than a policy's.
type ecdsaSigner struct {
	id  string
	key crypto.Signer
}

func (s ecdsaSigner) KeyID() string { return s.id }

func (s ecdsaSigner) Sign(text []byte) []byte {
	sum := sha256.Sum256(text)
	sig, err := s.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return sig
}

// decree is a policy of the thief's, and what gateways have against it.
type decree struct {
	name string
	sp   *policyv1.SignedPolicy
	says string
}

// decrees are policies that allow whatever the policy in force denies.
func (r *robbery) decrees(t *testing.T) []decree {
	t.Helper()
	genuine := r.policies(t)
	first, current := genuine[0], genuine[1]
	open, err := signed.Decode(first.GetPolicy()) // under which models are listed
	if err != nil {
		t.Fatal(err)
	}
	_, own, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var operator string
	for id := range r.m.Started(t, "onprem-1").GetPolicyKeys().GetKeys() {
		operator = id
	}
	sign := func(serial uint64, signers ...signed.Signer) *policyv1.SignedPolicy {
		sp, err := signed.Sign(open, serial, "", true, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return sp
	}
	self := signed.NewSigner("thief", own)
	rotated := sign(9, self)
	keys := &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{"thief": own.Public().(ed25519.PublicKey)}}
	rotation, err := signed.SignKeys(keys, signed.NewSigner(operator, own))
	if err != nil {
		t.Fatal(err)
	}
	rotated.Rotations = []*policyv1.KeyRotation{rotation}
	old := sign(9)
	old.Signatures = current.GetSignatures()
	swapped := proto.CloneOf(current)
	swapped.Policy = first.GetPolicy()
	return []decree{
		{"signed by nobody", sign(3), "not signed by enough known keys: 0 of 1"},
		{"signed by a key of its own", sign(3, self), "not signed by enough known keys: 0 of 1"},
		{"signed by a key of its own, under the operator's name", sign(3, signed.NewSigner(operator, own)), "not signed by enough known keys: 0 of 1"},
		{"signed with its SVID's key", sign(3, ecdsaSigner{operator, r.svid.PrivateKey}), "not signed by enough known keys: 0 of 1"},
		{"signed for another policy", old, "not signed by enough known keys: 0 of 1"},
		{"the one before it, which the operator did sign", first, "its serial 1 is lower than 2"},
		{"another text under the operator's manifest", swapped, "not the one that the manifest names"},
		{"under a key set of its own", rotated, "key rotation 1"},
		{"none", &policyv1.SignedPolicy{}, "not signed by enough known keys: 0 of 1"},
	}
}

// federate says that other environments have a root of the thief's.
func (r *robbery) federate(t *testing.T, p *plane, env string) {
	t.Helper()
	for _, other := range localmesh.Environments() {
		if other == env {
			continue
		}
		td := localmesh.GatewayID(other).TrustDomain()
		authority := spiffeid.RequireFromPath(td, "/sallyport/authority/main")
		root := r.ownRoot(t, td)
		b := spiffebundle.FromX509Authorities(td, []*x509.Certificate{root})
		b.SetSequenceNumber(1 << 40)
		document, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		for name, chain := range map[string][][]byte{
			"its own SVID":                     certs.Certificate(r.svid).Certificate,
			"an authority's SVID that it made": r.forged(t, authority).Certificate,
			"its own root":                     {root.Raw},
		} {
			sb := r.signBundle(t, td.Name(), document, chain)
			if nack := p.push(t, env, resource(t, td.Name(), sb)); !strings.Contains(nack, "signature 0: ") {
				t.Errorf("the gateway of %s says of a bundle of %s signed by %s: %q", env, td, name, nack)
			}
		}
	}
}

// ownRoot is a root for a trust domain, of the stolen SVID's key.
func (r *robbery) ownRoot(t *testing.T, td spiffeid.TrustDomain) *x509.Certificate {
	t.Helper()
	template := signing(td.Name())
	template.URIs = []*url.URL{td.ID().URL()}
	der, err := x509.CreateCertificate(rand.Reader, template, template, r.svid.PrivateKey.Public(), r.svid.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// signBundle signs as certs/federation/FORMAT.md says.
func (r *robbery) signBundle(t *testing.T, td string, document []byte, chain [][]byte) *configv1.SignedBundle {
	t.Helper()
	now := time.Now().Unix()
	text := wire.BigEndian.AppendUint32([]byte("sallyport.bundle.v1\n"), uint32(len(td)))
	text = wire.BigEndian.AppendUint64(append(text, td...), uint64(now))
	text = append(wire.BigEndian.AppendUint32(text, uint32(len(document))), document...)
	return &configv1.SignedBundle{TrustDomain: td, Document: document, Signatures: []*configv1.BundleSignature{{
		SignedAt: now, Chain: chain, Signature: ecdsaSigner{key: r.svid.PrivateKey}.Sign(text),
	}}}
}

// assignment says where a service is.
func assignment(name string, at net.Addr) *endpoint.ClusterLoadAssignment {
	tcp := at.(*net.TCPAddr)
	return &endpoint.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpoint.LocalityLbEndpoints{{
		LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
			Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
				Address: tcp.IP.String(), PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(tcp.Port)},
			}}},
		}}}},
	}}}
}

// act shuts workloads and gateways out, which an operator alone may.
func (r *robbery) act(t *testing.T, p *plane, env string) {
	t.Helper()
	for id := range r.m.Started(t, "onprem-1").GetPolicyKeys().GetKeys() {
		for kind, subject := range map[policyv1.Act_Kind]spiffeid.ID{
			policyv1.Act_QUARANTINE: localmesh.ID("orchestrator"), policyv1.Act_REVOKE_GATEWAY: localmesh.GatewayID("azure"),
		} {
			sa, err := act.Sign(&policyv1.Act{
				Policy: "local", Kind: kind, Subject: subject.String(), Reason: "because", Author: localmesh.ID("operator").String(),
				Made: timestamppb.Now(), ReviewBy: time.Now().AddDate(0, 1, 0).Format(time.DateOnly),
			}, ecdsaSigner{id, r.svid.PrivateKey})
			if err != nil {
				t.Fatal(err)
			}
			if nack := p.push(t, env, resource(t, "acts", &policyv1.ActSet{Acts: []*policyv1.SignedAct{sa}})); !strings.Contains(nack, "not signed by enough known keys: 0 of 1") {
				t.Errorf("the gateway of %s says of %s of %s: %q", env, kind, subject, nack)
			}
		}
	}
}
