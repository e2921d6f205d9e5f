package statement

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func announce(t testing.TB, s *Signer, gateway string) *crossingv1.Announcement {
	t.Helper()
	chain, key := svid(t, gateway)
	return must[*crossingv1.Announcement](t)(s.Announce(gateway, nearRun, chain, key, began))
}

// TestAnnouncement: with any key that an SVID may have.
func TestAnnouncement(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]crypto.Signer{
		"Ed25519": ed,
		"RSA":     must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)),
		"P-256":   must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"P-384":   must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"P-521":   must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
	}
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			s := NewSigner()
			a := must[*crossingv1.Announcement](t)(s.Announce(nearGateway, nearRun, certificate(t, nearGateway, key), key, began))
			var asked time.Time
			k, err := VerifyAnnouncement(overWire(t, a), nearGateway, func(_ []*x509.Certificate, at time.Time) error {
				asked = at
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			own := s.Key(nearGateway, nearRun)
			if !asked.Equal(began) || k.ID != own.ID || !bytes.Equal(k.public, own.public) || k.Gateway != own.Gateway || k.Run != own.Run {
				t.Errorf("key %v, want %v, of the time %v", k, own, asked)
			}
			if HashAnnouncement(a) != HashAnnouncement(overWire(t, a)) {
				t.Error("it is not known again")
			}
		})
	}
}

func TestAnnouncementRefused(t *testing.T) {
	s := NewSigner()
	untrusted := errors.New("not of this trust domain")
	tests := []struct {
		name   string
		change func(a *crossingv1.Announcement)
		want   string
	}{
		{"of another gateway", func(a *crossingv1.Announcement) { a.Gateway = farGateway }, "it is of"},
		{"of another's SVID", func(a *crossingv1.Announcement) { a.Chain, _ = svid(t, farGateway) }, "the SVID is of"},
		{"of no SVID", func(a *crossingv1.Announcement) { a.Chain = nil }, "0 certificates"},
		{"of many certificates", func(a *crossingv1.Announcement) { a.Chain = append(a.Chain, make([][]byte, maxCertificates)...) }, "certificates"},
		{"of a long certificate", func(a *crossingv1.Announcement) { a.Chain[0] = make([]byte, maxCertificate+1) }, "too long"},
		{"of no certificate", func(a *crossingv1.Announcement) { a.Chain[0] = []byte("x") }, "certificate 0"},
		{"of another key", func(a *crossingv1.Announcement) { a.Key = NewSigner().Key("", "").public }, "signature"},
		{"of a short key", func(a *crossingv1.Announcement) { a.Key = a.Key[1:] }, "Ed25519"},
		{"of another run", func(a *crossingv1.Announcement) { a.Run = farRun }, "signature"},
		{"of no run", func(a *crossingv1.Announcement) { a.Run = "" }, "run"},
		{"of another time", func(a *crossingv1.Announcement) { a.At = timestamppb.New(began.Add(time.Second)) }, "signature"},
		{"of no time", func(a *crossingv1.Announcement) { a.At = nil }, "time"},
		{"without signature", func(a *crossingv1.Announcement) { a.Signature = nil }, "signature"},
		{"with a long signature", func(a *crossingv1.Announcement) { a.Signature = make([]byte, maxSVIDSignature+1) }, "too long"},
		{"with unknown fields", func(a *crossingv1.Announcement) { a.ProtoReflect().SetUnknown([]byte{0xf8, 0x7f, 1}) }, "does not know"},
		{"not trusted", func(*crossingv1.Announcement) {}, untrusted.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := announce(t, s, nearGateway)
			tt.change(a)
			if k, err := VerifyAnnouncement(a, nearGateway, func([]*x509.Certificate, time.Time) error { return untrusted }); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("VerifyAnnouncement = %v, %v; want %q", k, err, tt.want)
			}
		})
	}
	var other struct{ crypto.Signer }
	other.Signer = unsignable{}
	if _, err := s.Announce(nearGateway, nearRun, nil, other, began); err == nil {
		t.Error("announced with a key of no scheme")
	}
}

type unsignable struct{ crypto.Signer }

func (unsignable) Public() crypto.PublicKey { return "none" }

func heartbeat(gateway string) *crossingv1.Heartbeat {
	return &crossingv1.Heartbeat{
		Gateway: gateway, Run: nearRun, At: timestamppb.New(began), Policy: policyRef,
		Standings: []*crossingv1.Standing{{Chain: testChain.Message(), Epoch: 3, Claim: make([]byte, 32), Next: 9, Answered: true}},
	}
}

func TestHeartbeat(t *testing.T) {
	s := NewSigner()
	k := s.Key(nearGateway, nearRun)
	got, err := VerifyHeartbeat(s.Heartbeat(heartbeat(nearGateway)), k)
	if err != nil || !proto.Equal(got, heartbeat(nearGateway)) {
		t.Fatalf("VerifyHeartbeat = %v, %v", got, err)
	}
	tests := []struct {
		name   string
		change func(h *crossingv1.Heartbeat)
	}{
		{"of another gateway", func(h *crossingv1.Heartbeat) { h.Gateway = farGateway }},
		{"of no gateway", func(h *crossingv1.Heartbeat) { h.Gateway = "x" }},
		{"of no run", func(h *crossingv1.Heartbeat) { h.Run = "x" }},
		{"of no time", func(h *crossingv1.Heartbeat) { h.At = nil }},
		{"of a chain between others", func(h *crossingv1.Heartbeat) { h.Standings[0].Chain.Egress = "spiffe://x.example/y" }},
		{"of a chain of one gateway", func(h *crossingv1.Heartbeat) { h.Standings[0].Chain.Ingress = nearGateway }},
		{"of a claim without hash", func(h *crossingv1.Heartbeat) { h.Standings[0].Claim = nil }},
		{"of a hash without claim", func(h *crossingv1.Heartbeat) { h.Standings[0].Epoch = 0 }},
		{"silent at no time", func(h *crossingv1.Heartbeat) { h.Standings[0].Silent = new(timestamppb.Timestamp) }},
		{"of many chains", func(h *crossingv1.Heartbeat) { h.Standings = make([]*crossingv1.Standing, maxStandings+1) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := heartbeat(nearGateway)
			tt.change(h)
			if got, err := VerifyHeartbeat(s.Heartbeat(h), k); err == nil {
				t.Errorf("VerifyHeartbeat = %v", got)
			}
		})
	}
	signed := s.Heartbeat(heartbeat(nearGateway))
	signed.Heartbeat = append(signed.Heartbeat, signed.Heartbeat...) // which is one, too
	if _, err := VerifyHeartbeat(signed, k); err == nil {
		t.Error("another encoding is signed")
	}
	if _, err := VerifyHeartbeat(s.Heartbeat(heartbeat(nearGateway)), NewSigner().Key(nearGateway, nearRun)); err == nil {
		t.Error("signed by another key")
	}
}

// TestContexts: a signature of one thing is none of another.
func TestContexts(t *testing.T) {
	s := NewSigner()
	k, sum := s.Key(nearGateway, nearRun), Hash{1}
	contexts := []string{claimContext, answerContext, heartbeatContext, announcementContext}
	for _, signed := range contexts {
		for _, verified := range contexts {
			if err := k.verify(nearGateway, s.sign(signed, sum), verified, sum); (err == nil) != (signed == verified) {
				t.Errorf("signed as %q, verified as %q: %v", signed, verified, err)
			}
		}
	}
	if k.verify(nearGateway, s.sign(claimContext, sum), claimContext, sum, sum) == nil || k.verify(farGateway, s.sign(claimContext, sum), claimContext, sum) == nil {
		t.Error("a signature of something else, or of somebody else, is right")
	}
	var none *Key
	if none.verify(nearGateway, s.sign(claimContext, sum), claimContext, sum) == nil {
		t.Error("no key verifies")
	}
}
