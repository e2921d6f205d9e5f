package act

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var (
	planner = spiffeid.RequireFromString("spiffe://a.test/ai/planner")
	gw      = spiffeid.RequireFromString("spiffe://b.test/sallyport/gateway/b-1")
	noon    = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
)

// keys are signers whose public keys make a set in which two must sign.
func keys(t testing.TB) ([]signed.Signer, *policyv1.KeySet) {
	t.Helper()
	set := &policyv1.KeySet{Threshold: 2, Keys: map[string][]byte{}}
	var signers []signed.Signer
	for _, id := range []string{"ann", "bob", "eve"} {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte(id[:1]), ed25519.SeedSize))
		if signers = append(signers, signed.NewSigner(id, key)); id != "eve" { // who is nobody
			set.Keys[id], _ = key.Public().(ed25519.PublicKey)
		}
	}
	return signers, set
}

func quarantine() *policyv1.Act {
	return &policyv1.Act{
		Policy: "local", Kind: policyv1.Act_QUARANTINE, Subject: planner.String(), Reason: "its token was leaked",
		Author: "spiffe://mesh.test/sallyport/operator/ann", Made: timestamppb.New(noon), ReviewBy: "2026-12-04",
	}
}

func lift(of *Act) *policyv1.Act {
	said := proto.CloneOf(of.said)
	said.Kind, said.Lifts, said.ReviewBy, said.Made = policyv1.Act_LIFT, of.ID, "", timestamppb.New(noon.Add(time.Hour))
	return said
}

func signedAct(t testing.TB, said *policyv1.Act, by ...signed.Signer) *policyv1.SignedAct {
	t.Helper()
	sa, err := Sign(said, by...)
	if err != nil {
		t.Fatal(err)
	}
	return sa
}

func verified(t testing.TB, said *policyv1.Act) *Act {
	t.Helper()
	signers, set := keys(t)
	a, err := Verify(signedAct(t, said, signers[:2]...), set)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestVerifyWantsOneToDenyAndTheThresholdToLift(t *testing.T) {
	s, set := keys(t)
	a, err := Verify(signedAct(t, quarantine(), s[0]), set)
	if err != nil || a.Subject != planner || a.ID != ID(a.Signed()) || !IsID(a.ID) {
		t.Fatalf("Verify = %+v, %v", a, err)
	}
	revoke := quarantine()
	revoke.Kind, revoke.Subject = policyv1.Act_REVOKE_GATEWAY, gw.String()
	if _, err := Verify(signedAct(t, revoke, s[1]), set); err != nil {
		t.Errorf("a revocation that one has signed: %v", err)
	}
	for _, c := range []struct {
		name string
		by   []signed.Signer
		ok   bool
	}{
		{"two", s[:2], true},
		{"one", s[:1], false},
		{"one, twice", []signed.Signer{s[0], s[0]}, false},
		{"one and a stranger", []signed.Signer{s[0], s[2]}, false},
	} {
		if _, err := Verify(signedAct(t, lift(a), c.by...), set); (err == nil) != c.ok || !c.ok && !errors.Is(err, signed.ErrSignature) {
			t.Errorf("a LIFT that %s signed: %v", c.name, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	s, set := keys(t)
	good := signedAct(t, quarantine(), s[0])
	other := signedAct(t, lift(verified(t, quarantine())), s[:2]...)
	for _, c := range []struct {
		name string
		sa   *policyv1.SignedAct
		want error
	}{
		{"nobody", signedAct(t, quarantine()), signed.ErrSignature},
		{"an unknown key", signedAct(t, quarantine(), s[2]), signed.ErrSignature},
		{"another act's signature", &policyv1.SignedAct{Act: good.Act, Signatures: other.Signatures}, signed.ErrSignature},
		{"one byte changed", &policyv1.SignedAct{Act: append([]byte(" "), good.Act...), Signatures: good.Signatures}, signed.ErrSignature},
		{"a policy's signature", &policyv1.SignedAct{Act: good.Act, Signatures: signed.SignText("sallyport policy manifest v1\n", good.Act, s[:1])}, signed.ErrSignature},
		{"other bytes for the same", func() *policyv1.SignedAct {
			text := append([]byte(" "), good.Act...)
			return &policyv1.SignedAct{Act: text, Signatures: signed.SignText(signedAs, text, s[:1])}
		}(), ErrAct},
		{"very long", &policyv1.SignedAct{Act: make([]byte, MaxSize+1)}, ErrAct},
	} {
		if _, err := Verify(c.sa, set); !errors.Is(err, c.want) {
			t.Errorf("signed by %s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestSignRefusesWhatIsNotWellFormed(t *testing.T) {
	a := verified(t, quarantine())
	for name, change := range map[string]func(*policyv1.Act){
		"kind":                   func(s *policyv1.Act) { s.Kind = 0 },
		"kind that is none":      func(s *policyv1.Act) { s.Kind = 9 },
		"subject":                func(s *policyv1.Act) { s.Subject = "planner" },
		"trust domain as such":   func(s *policyv1.Act) { s.Subject = "spiffe://a.test" },
		"gateway in quarantine":  func(s *policyv1.Act) { s.Subject = gw.String() },
		"operator in quarantine": func(s *policyv1.Act) { s.Subject = s.Author },
		"revoked workload":       func(s *policyv1.Act) { s.Kind = policyv1.Act_REVOKE_GATEWAY },
		"no reason":              func(s *policyv1.Act) { s.Reason = " " },
		"long reason":            func(s *policyv1.Act) { s.Reason = strings.Repeat("x", MaxReason+1) },
		"reason that is no text": func(s *policyv1.Act) { s.Reason = "a\x1b[2Jb" },
		"no author":              func(s *policyv1.Act) { s.Author = "" },
		"no time":                func(s *policyv1.Act) { s.Made = nil },
		"impossible time":        func(s *policyv1.Act) { s.Made = &timestamppb.Timestamp{Seconds: -1 << 62} },
		"no review":              func(s *policyv1.Act) { s.ReviewBy = "" },
		"no date":                func(s *policyv1.Act) { s.ReviewBy = "soon" },
		"no policy":              func(s *policyv1.Act) { s.Policy = "" },
		"lifts without a LIFT":   func(s *policyv1.Act) { s.Lifts = a.ID },
		"LIFT of nothing":        func(s *policyv1.Act) { s.Kind, s.ReviewBy = policyv1.Act_LIFT, "" },
		"LIFT of no id":          func(s *policyv1.Act) { s.Kind, s.ReviewBy, s.Lifts = policyv1.Act_LIFT, "", "sha256:1" },
		"LIFT with a review":     func(s *policyv1.Act) { s.Kind, s.Lifts = policyv1.Act_LIFT, a.ID },
	} {
		said := quarantine()
		change(said)
		if _, err := Sign(said); !errors.Is(err, ErrAct) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOverdue(t *testing.T) {
	a := verified(t, quarantine())
	if a.Overdue(time.Date(2026, 12, 4, 23, 59, 0, 0, time.UTC)) || !a.Overdue(time.Date(2026, 12, 5, 0, 0, 0, 0, time.UTC)) {
		t.Error("overdue on another day than the one after its date")
	}
	if verified(t, lift(a)).Overdue(noon.AddDate(9, 0, 0)) {
		t.Error("a LIFT is overdue")
	}
}

// FuzzVerify: nothing that is not signed is read, and nothing makes it panic. What
// is read comes to the same bytes again.
func FuzzVerify(f *testing.F) {
	s, set := keys(f)
	for _, sa := range []*policyv1.SignedAct{
		signedAct(f, quarantine(), s[0]), signedAct(f, quarantine()), signedAct(f, lift(verified(f, quarantine())), s[:2]...),
	} {
		b, err := proto.Marshal(sa)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sa := &policyv1.SignedAct{}
		if proto.Unmarshal(b, sa) != nil {
			return
		}
		a, err := Verify(sa, set)
		if (a == nil) == (err == nil) {
			t.Fatalf("Verify = %v, %v", a, err)
		}
		if a, err = Read(sa); err != nil {
			return
		}
		if again, err := Sign(a.said); err != nil || !bytes.Equal(again.Act, sa.Act) {
			t.Fatalf("%s comes to %s, %v", sa.Act, again.GetAct(), err)
		}
	})
}
