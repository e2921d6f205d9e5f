package crossing

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var update = flag.Bool("update", false, "rewrite the bytes and records of testdata from its frames")

// vector is one file of testdata: frames, and the record that they join to.
type vector struct {
	About  string          `json:"about"`
	Frames []vectorFrame   `json:"frames"`
	Record json.RawMessage `json:"record"`
}

// vectorFrame is a frame, its encoding, whether its gateway may send it, and, of an
// opening or an end, what both gateways must say alike and the digest of that. Without
// a frame, the encoding is none.
type vectorFrame struct {
	Frame    json.RawMessage  `json:"frame,omitempty"`
	Hex      string           `json:"hex"`
	Also     []vectorEncoding `json:"also,omitempty"`
	Accepted bool             `json:"accepted"`
	Why      string           `json:"why,omitempty"`
	Agreed   string           `json:"agreed,omitempty"`
	Digest   string           `json:"digest,omitempty"`
}

// vectorEncoding is another encoding of the same frame, which a decoder takes too.
type vectorEncoding struct {
	Hex string `json:"hex"`
	Why string `json:"why"`
}

// TestVectors holds the vectors that FORMAT.md names.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 12 {
		t.Fatalf("found %d vectors, %v", len(files), err)
	}
	format, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".json"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if row := "| `" + strings.TrimSuffix(filepath.Base(name), ".json") + "` |"; !strings.Contains(string(format), row) {
				t.Errorf("FORMAT.md has no line %s", row)
			}
			var v vector
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			egress, ingress := new(Account), new(Account)
			for i := range v.Frames {
				v.Frames[i].hold(t, egress, ingress)
			}
			v.Record = canonical(t, Join(egress, ingress))
			got, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			if *update {
				if err := os.WriteFile(name, got, 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(text), string(got)); d != "" {
				t.Errorf("(-want +got; rewrite with -update):\n%s", d)
			}
		})
	}
}

// hold encodes and checks a frame, and adds it to its account if it is accepted.
func (v *vectorFrame) hold(t *testing.T, egress, ingress *Account) {
	t.Helper()
	if v.Frame == nil {
		v.Accepted = false
		if f, err := UnmarshalFrame(decodeHex(t, v.Hex)); err == nil {
			t.Errorf("%s: decoded %v", v.Why, f)
		}
		return
	}
	f := new(crossingv1.Frame)
	if err := protojson.Unmarshal(v.Frame, f); err != nil {
		t.Fatal(err)
	}
	for _, other := range v.Also {
		if got, err := UnmarshalFrame(decodeHex(t, other.Hex)); err != nil || !proto.Equal(got, f) {
			t.Errorf("%s: decoded %v, %v", other.Why, got, err)
		}
	}
	data, err := MarshalFrame(f)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := UnmarshalFrame(data); err != nil || !proto.Equal(back, f) {
		t.Fatalf("decoded %v, %v", back, err)
	}
	v.Frame, v.Hex = canonical(t, f), hex.EncodeToString(data)
	v.Agreed, v.Digest = agreedOf(f)
	v.Accepted = CheckFrame(f, spiffeid.RequireFromString(f.GetGateway())) == nil
	if !v.Accepted {
		return
	}
	a := egress
	for _, side := range []crossingv1.Side{f.GetOpen().GetSide(), f.GetProgress().GetSide(), f.GetClose().GetSide()} {
		if side == crossingv1.Side_INGRESS {
			a = ingress
		}
	}
	if f.GetProgress() != nil {
		a.Further(f.GetProgress())
	}
	if f.GetOpen() != nil {
		a.Open = f.GetOpen()
	}
	if f.GetClose() != nil {
		a.Close = f.GetClose()
	}
}

// agreedOf is what both gateways must say alike of a frame, and its digest, in hex.
func agreedOf(f *crossingv1.Frame) (agreed, digest string) {
	var b []byte
	var sum [32]byte
	switch {
	case f.GetOpen() != nil:
		b, sum = AppendAgreedOpen(nil, f.GetOpen()), OpenDigest(f.GetOpen())
	case f.GetClose() != nil:
		b, sum = AppendAgreedClose(nil, f.GetClose()), CloseDigest(f.GetClose())
	default:
		return "", ""
	}
	return hex.EncodeToString(b), hex.EncodeToString(sum[:])
}

func decodeHex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// canonical is a message's JSON with its keys sorted: protojson's own spacing
// is random by design.
func canonical(t *testing.T, m proto.Message) json.RawMessage {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	text, err = json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
