package verifytest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"time"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// Bundle has the log of a gateway's environment take a bundle with those roots, signed by
// an authority under one of them.
func (m *Mesh) Bundle(g *Gateway, trustDomain string, by *Authority, roots ...*Authority) {
	m.t.Helper()
	type key struct {
		Use string   `json:"use"`
		X5C []string `json:"x5c"`
	}
	var keys []key
	for _, r := range roots {
		keys = append(keys, key{"x509-svid", []string{base64.StdEncoding.EncodeToString(r.Root.Raw)}})
	}
	document := must[[]byte](m.t)(json.Marshal(map[string]any{"keys": keys, "spiffe_sequence": 7}))
	svid, private := by.SVID("spiffe://"+trustDomain+"/sallyport/authority/one", m.Now.Add(-time.Minute), time.Hour)
	at := m.Now.Unix()
	signed := append([]byte("sallyport.bundle.v1\n"), binary.BigEndian.AppendUint32(nil, uint32(len(trustDomain)))...)
	signed = binary.BigEndian.AppendUint64(append(signed, trustDomain...), uint64(at))
	signed = append(binary.BigEndian.AppendUint32(signed, uint32(len(document))), document...)
	digest := sha256.Sum256(signed)
	signature := must[[]byte](m.t)(private.Sign(rand.Reader, digest[:], crypto.SHA256))
	b := &configv1.SignedBundle{TrustDomain: trustDomain, Document: document, Signatures: []*configv1.BundleSignature{{
		Chain: [][]byte{svid.Raw}, SignedAt: at, Signature: signature,
	}}}
	g.Log.Add(m.Now.Add(100*time.Millisecond), &logv1.Entry{Bundle: must[[]byte](m.t)(proto.MarshalOptions{Deterministic: true}.Marshal(b))})
}

// Renew gives a gateway another SVID, from now on for an hour, under an authority, and has
// it announce its key again.
func (m *Mesh) Renew(g *Gateway, by *Authority) {
	g.Authority = by
	g.SVID, g.Key = by.SVID(g.ID, m.Now.Add(-time.Minute), time.Hour)
	m.Announce(g)
}
