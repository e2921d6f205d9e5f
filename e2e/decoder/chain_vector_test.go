package decoder

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// chainVector is gateway/statement/testdata/statements.json: see "Vectors" in
// gateway/statement/FORMAT.md.
type chainVector struct {
	Keys                    struct{ Egress, Ingress, SVID string } // seeds
	Announcement, Heartbeat signedVector
	Statements              []struct {
		About         string
		Frames        []struct{ Hex, Leaf string }
		Claim, Answer signedVector
	}
}

type signedVector struct {
	Message        any
	Hex, Signature string
}

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// public is the public key of a seed.
func public(t *testing.T, seed string) []byte {
	t.Helper()
	return ed25519.NewKeyFromSeed(bytesOf(t, seed)).Public().(ed25519.PublicKey)
}

// signature is one by the key of a seed.
func (v *signedVector) signature(t *testing.T, seed string) *crossingv1.Signature {
	t.Helper()
	id := sha256.Sum256(public(t, seed))
	return &crossingv1.Signature{Algorithm: crossingv1.Algorithm_ED25519, Key: id[:], Value: bytesOf(t, v.Signature)}
}

func readChain(t *testing.T) *chainVector {
	t.Helper()
	text, err := os.ReadFile("../../gateway/statement/testdata/statements.json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(chainVector)
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
	if len(v.Statements) < 3 {
		t.Fatalf("%d statements", len(v.Statements))
	}
	return v
}

// TestChainVector: the other decoder reads every statement of the vector, verifies both
// signatures, and comes to its leaves, roots and digests.
func TestChainVector(t *testing.T) {
	v := readChain(t)
	keys := map[string]string{"egress": hex.EncodeToString(public(t, v.Keys.Egress)), "ingress": hex.EncodeToString(public(t, v.Keys.Ingress))}
	var cases []stated
	var leaves [][]string
	near, far, nearLeaves, farLeaves := []string{}, []string{}, []string{}, []string{}
	for _, s := range v.Statements {
		for _, f := range s.Frames {
			frame, err := crossing.UnmarshalFrame(bytesOf(t, f.Hex))
			if err != nil {
				t.Fatal(err)
			}
			if frame.GetOpen().GetSide() == crossingv1.Side_INGRESS || frame.GetClose().GetSide() == crossingv1.Side_INGRESS {
				far, farLeaves = append(far, f.Hex), append(farLeaves, f.Leaf)
			} else {
				near, nearLeaves = append(near, f.Hex), append(nearLeaves, f.Leaf)
			}
		}
		data, err := proto.Marshal(&crossingv1.Statement{
			Claim: bytesOf(t, s.Claim.Hex), Egress: s.Claim.signature(t, v.Keys.Egress),
			Answer: bytesOf(t, s.Answer.Hex), Ingress: s.Answer.signature(t, v.Keys.Ingress),
		})
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, stated{hex.EncodeToString(data), near, far, keys})
		leaves = append(leaves, append(append([]string{}, nearLeaves...), farLeaves...))
	}
	for i, got := range run[understood](t, cases) {
		s := v.Statements[i]
		for what, d := range map[string]string{
			"claim": cmp.Diff(s.Claim.Message, got.Claim), "answer": cmp.Diff(s.Answer.Message, got.Answer), "leaves": cmp.Diff(leaves[i], got.Leaves),
			"signatures": cmp.Diff(map[string]bool{"egress": true, "ingress": true}, got.Signed),
			"roots": cmp.Diff(map[string]map[string]string{
				"egress": hexes(t, s.Claim.Message, "roots"), "ingress": hexes(t, s.Answer.Message, "roots"),
			}, got.Roots),
			"digests": cmp.Diff(hexes(t, s.Claim.Message, "agreed"), got.Agreed),
		} {
			if d != "" || got.Refused != "" {
				t.Errorf("%s: %s %s (-want +got):\n%s", s.About, what, got.Refused, d)
			}
		}
	}
}

// hexes are the two hashes of a field of a message, in hex, from its JSON.
func hexes(t *testing.T, message any, field string) map[string]string {
	t.Helper()
	text, err := json.Marshal(message.(map[string]any)[field])
	if err != nil {
		t.Fatal(err)
	}
	var both struct{ Opened, Closed []byte }
	if err := json.Unmarshal(text, &both); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"opened": hex.EncodeToString(both.Opened), "closed": hex.EncodeToString(both.Closed)}
}

// TestSignedMessages: the heartbeat and the announcement of the vector are as they are,
// and signed.
func TestSignedMessages(t *testing.T) {
	type signed struct {
		Name      string `json:"message"`
		Hex       string `json:"hex"`
		Signature string `json:"signature"`
		Key       string `json:"key"`
	}
	v := readChain(t)
	beat := signed{"Heartbeat", v.Heartbeat.Hex, v.Heartbeat.Signature, hex.EncodeToString(public(t, v.Keys.Egress))}
	announced := signed{"Announcement", v.Announcement.Hex, v.Announcement.Signature, hex.EncodeToString(public(t, v.Keys.SVID))}
	forged := beat
	forged.Key = announced.Key
	got := run[struct {
		Message any
		Signed  bool
	}](t, []signed{beat, announced, forged})
	if d := cmp.Diff(v.Heartbeat.Message, got[0].Message); d != "" || !got[0].Signed {
		t.Errorf("heartbeat, signed %t (-want +got):\n%s", got[0].Signed, d)
	}
	if d := cmp.Diff(v.Announcement.Message, got[1].Message); d != "" || !got[1].Signed {
		t.Errorf("announcement, signed %t (-want +got):\n%s", got[1].Signed, d)
	}
	if got[2].Signed {
		t.Error("a heartbeat is signed by whoever it was not signed by")
	}
}
