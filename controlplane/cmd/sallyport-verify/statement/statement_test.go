package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// signed is what the vectors have of something that was signed.
type signed struct {
	Hex       string `json:"hex"`
	Signature string `json:"signature"`
}

type vectors struct {
	Keys struct {
		Egress  string `json:"egress"`
		Ingress string `json:"ingress"`
	} `json:"keys"`
	Heartbeat  signed `json:"heartbeat"`
	Statements []struct {
		Claim  signed `json:"claim"`
		Answer signed `json:"answer"`
	} `json:"statements"`
}

func load(t testing.TB) (v vectors) {
	text, err := os.ReadFile("../../../../gateway/statement/testdata/statements.json")
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil || len(v.Statements) == 0 {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func public(t testing.TB, seed string) ed25519.PublicKey {
	return ed25519.NewKeyFromSeed(unhex(t, seed)).Public().(ed25519.PublicKey)
}

func signature(t testing.TB, key ed25519.PublicKey, value string) *crossingv1.Signature {
	id := sha256.Sum256(key)
	return &crossingv1.Signature{Algorithm: crossingv1.Algorithm_ED25519, Key: id[:], Value: unhex(t, value)}
}

// all are the statements of the vectors, encoded.
func (v *vectors) all(t testing.TB) (all [][]byte) {
	for _, s := range v.Statements {
		m := &crossingv1.Statement{
			Claim: unhex(t, s.Claim.Hex), Egress: signature(t, public(t, v.Keys.Egress), s.Claim.Signature),
			Answer: unhex(t, s.Answer.Hex), Ingress: signature(t, public(t, v.Keys.Ingress), s.Answer.Signature),
		}
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

// TestVectors: the statements of the vectors are read, signed, and follow one another.
func TestVectors(t *testing.T) {
	v := load(t)
	egress, ingress := public(t, v.Keys.Egress), public(t, v.Keys.Ingress)
	var before *Statement
	for i, data := range v.all(t) {
		s := agrees(t, data)
		if s == nil {
			t.Fatalf("epoch %d is not read", i+1)
		}
		if s.VerifyClaim(egress) != nil || s.VerifyAnswer(ingress) != nil {
			t.Errorf("epoch %d is not signed", i+1)
		}
		if s.VerifyClaim(ingress) == nil || s.VerifyAnswer(egress) == nil {
			t.Errorf("epoch %d is signed by the other", i+1)
		}
		if before != nil && (!bytes.Equal(s.Previous, before.Hash[:]) || s.First != before.Next) {
			t.Errorf("epoch %d does not follow", i+1)
		}
		before = s
	}
	beat, err := proto.Marshal(&crossingv1.SignedHeartbeat{Heartbeat: unhex(t, v.Heartbeat.Hex), Signature: signature(t, egress, v.Heartbeat.Signature)})
	if err != nil {
		t.Fatal(err)
	}
	h := heartbeat(t, beat)
	if h == nil || h.Verify(egress) != nil || h.Verify(ingress) == nil || len(h.Standings) != 1 {
		t.Errorf("heartbeat %+v", h)
	}
}

// agrees reads a statement as the product does; nil if neither does.
func agrees(t testing.TB, data []byte) *Statement {
	t.Helper()
	theirs := new(crossingv1.Statement)
	m, err := wire.Decode(message.Frame, append(wire.AppendVarint([]byte{9<<3 | 2}, uint64(len(data))), data...))
	if err != nil || proto.Unmarshal(data, theirs) != nil {
		return nil
	}
	want, wantErr := statement.Read(theirs)
	s, err := Read(m.Sub("statement"))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: %v, and theirs %v", data, err, wantErr)
	}
	if err != nil {
		return nil
	}
	c := want.Claim
	switch {
	case s.Hash != want.ClaimHash || s.Chain != Chain(want.Chain) || s.Epoch != c.GetEpoch() || s.First != c.GetFirst() || s.Next != c.GetNext(),
		!equal(s.Closed, want.Closed()), !equal(s.Voids, want.Voids()), !s.At.Equal(c.GetAt().AsTime()), s.Final != c.GetFinal(), s.Resumed != c.GetResumed(),
		!bytes.Equal(s.Roots.Opened[:], c.GetRoots().GetOpened()), (s.Answer == nil) != (want.Answer == nil):
		t.Fatalf("claim %+v, want %v", s, c)
	}
	if a := s.Answer; a != nil {
		switch {
		case a.Hash != want.AnswerHash || !equal(a.Deferred, want.Deferred()) || a.Missed != want.Answer.GetMissed() || a.Forgot != want.Answer.GetForgot(),
			len(a.Differences) != len(want.Answer.GetDifferences()), !bytes.Equal(a.Roots.Closed[:], want.Answer.GetRoots().GetClosed()):
			t.Fatalf("answer %+v, want %v", a, want.Answer)
		}
		for i, d := range want.Answer.GetDifferences() {
			if !equal(a.Differences[i].Numbers, statement.Numbers(d)) || a.Differences[i].Kind != uint64(d.GetKind()) { //nolint:gosec // a kind is no less than 0
				t.Fatalf("difference %+v, want %v", a.Differences[i], d)
			}
		}
	}
	return s
}

func equal(a, b []uint64) bool { return len(a) == len(b) && string(encoded(a)) == string(encoded(b)) }

func encoded(all []uint64) (b []byte) {
	for _, n := range all {
		b = wire.AppendVarint(b, n)
	}
	return b
}

// heartbeat reads one as the product does; nil if neither does.
func heartbeat(t testing.TB, data []byte) *Heartbeat {
	t.Helper()
	theirs := new(crossingv1.SignedHeartbeat)
	m, err := wire.Decode(message.Frame, append(wire.AppendVarint([]byte{10<<3 | 2}, uint64(len(data))), data...))
	if err != nil || proto.Unmarshal(data, theirs) != nil {
		return nil
	}
	want, wantErr := statement.ReadHeartbeat(theirs)
	h, err := ReadHeartbeat(m.Sub("heartbeat"))
	if err != nil {
		if wantErr == nil {
			t.Fatalf("%x: %v", data, err)
		}
		return nil
	}
	if wantErr == nil && (h.Gateway != want.GetGateway() || !h.At.Equal(want.GetAt().AsTime()) || len(h.Standings) != len(want.GetStandings())) {
		t.Fatalf("heartbeat %+v, want %v", h, want)
	}
	return h
}

// FuzzRead: whatever the bytes, both read the same, or neither does.
func FuzzRead(f *testing.F) {
	v := load(f)
	for _, data := range v.all(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { agrees(t, data) })
}

// FuzzClaim: the same of what is in the signed bytes.
func FuzzClaim(f *testing.F) {
	v := load(f)
	for _, s := range v.Statements {
		f.Add(unhex(f, s.Claim.Hex), unhex(f, s.Answer.Hex))
	}
	good := signature(f, public(f, v.Keys.Egress), v.Statements[0].Claim.Signature)
	f.Fuzz(func(t *testing.T, claim, answer []byte) {
		m := &crossingv1.Statement{Claim: claim, Egress: good}
		if len(answer) > 0 {
			m.Answer, m.Ingress = answer, good
		}
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		agrees(t, data)
	})
}

// FuzzHeartbeat: the same of heartbeats.
func FuzzHeartbeat(f *testing.F) {
	v := load(f)
	f.Add(unhex(f, v.Heartbeat.Hex))
	good := signature(f, public(f, v.Keys.Egress), v.Heartbeat.Signature)
	f.Fuzz(func(t *testing.T, beat []byte) {
		data, err := proto.Marshal(&crossingv1.SignedHeartbeat{Heartbeat: beat, Signature: good})
		if err != nil {
			t.Fatal(err)
		}
		heartbeat(t, data)
	})
}
