package crossing

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// usualHeader is a header as most are.
func usualHeader() *crossingv1.Header {
	return &crossingv1.Header{
		Id: "0197f2d0-0000-7000-8000-000000000001", Run: "0123456789abcdef0123456789abcdef", Sequence: 4711,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Source:      "spiffe://onprem.test/ai/orchestrator",
		SourceSvid:  "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Attach:      crossingv1.Attach_MTLS, Destination: "spiffe://azure.test/ai/llm", Workload: "llm", Service: "chat",
		Policy: &crossingv1.PolicyRef{
			Serial: 12, Revision: "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
		},
		Intent: "plan", Kind: crossingv1.Header_HTTP, Opened: timestamppb.New(time.Unix(1795500000, 123456789)),
	}
}

// TestHeaderAsTheLibrary: the same bytes, which decode to the same but for what
// the schema does not know.
func TestHeaderAsTheLibrary(t *testing.T) {
	before := []byte("before")
	encoded := 0
	for seed := range uint64(20_000) {
		fill := filler{Rand: rand.New(rand.NewPCG(3, seed)), wild: seed%2 == 1}
		h := new(crossingv1.Header)
		fill.fill(h.ProtoReflect())
		want, werr := library(h)
		got, err := AppendHeader(bytes.Clone(before), h)
		if (err == nil) != (werr == nil) {
			t.Fatalf("seed %d: AppendHeader = %v, the library's %v", seed, err, werr)
		}
		if err != nil {
			want = nil
		}
		if !bytes.Equal(got, append(bytes.Clone(before), want...)) {
			t.Fatalf("seed %d: %v is encoded as\n%x, want\n%x", seed, h, got, want)
		}
		if err != nil {
			continue
		}
		encoded++
		holdHeader(t, want)
	}
	if encoded < 10_000 {
		t.Errorf("%d headers encoded; the test tests little", encoded)
	}
}

// holdHeader holds what UnmarshalHeader makes of an encoding against what the
// library does.
func holdHeader(t *testing.T, b []byte) {
	t.Helper()
	want := new(crossingv1.Header)
	werr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, want)
	kept := bytes.Clone(b)
	got, err := UnmarshalHeader(b)
	if (err == nil) != (werr == nil) {
		t.Fatalf("UnmarshalHeader(%x) = %v, the library's %v", b, err, werr)
	}
	clear(b) // it is the tunnel's, which reads on
	if err == nil && !proto.Equal(got, want) {
		t.Fatalf("UnmarshalHeader(%x) = %v, want %v", kept, got, want)
	}
}

// TestUnmarshalHeader: encodings as no encoder of ours would write them.
func TestUnmarshalHeader(t *testing.T) {
	good, err := AppendHeader(nil, usualHeader())
	if err != nil {
		t.Fatal(err)
	}
	tag := func(n protowire.Number, typ protowire.Type) []byte { return protowire.AppendTag(nil, n, typ) }
	for name, more := range map[string][]byte{
		"nothing":                     nil,
		"a text again":                append(tag(1, protowire.BytesType), 1, 'x'),
		"a policy again, in part":     append(tag(12, protowire.BytesType), 2, 1<<3, 7),
		"an empty policy":             append(tag(12, protowire.BytesType), 0),
		"a wrong type":                append(tag(1, protowire.VarintType), 5),
		"a wrong type within":         append(tag(12, protowire.BytesType), 3, 1<<3|2, 1, 'x'),
		"packed":                      append(tag(8, protowire.BytesType), 2, 1, 2),
		"an unknown field":            append(tag(77, protowire.Fixed32Type), 1, 2, 3, 4),
		"a group":                     append(append(tag(77, protowire.StartGroupType), 1<<3, 1), tag(77, protowire.EndGroupType)...),
		"a known field as a group":    append(tag(1, protowire.StartGroupType), tag(1, protowire.EndGroupType)...),
		"a group without end":         tag(77, protowire.StartGroupType),
		"an end without group":        tag(77, protowire.EndGroupType),
		"another group's end":         append(tag(77, protowire.StartGroupType), tag(78, protowire.EndGroupType)...),
		"number 0":                    {0, 1},
		"a number above all":          append(protowire.AppendVarint(nil, uint64(protowire.MaxValidNumber+1)<<3), 1),
		"a reserved type":             {1<<3 | 7},
		"a text cut off":              append(tag(1, protowire.BytesType), 2, 'x'),
		"a text that is none":         append(tag(1, protowire.BytesType), 1, 0xff),
		"half a tag":                  {0x88},
		"an endless number":           append(tag(3, protowire.VarintType), bytes.Repeat([]byte{0x80}, 12)...),
		"a long number for a short":   append(tag(3, protowire.VarintType), 0x81, 0x80, 0),
		"an enumeration of 64 bits":   append(tag(8, protowire.VarintType), protowire.AppendVarint(nil, 1<<40|2)...),
		"nanoseconds of 64 bits":      append(tag(15, protowire.BytesType), append([]byte{10, 2 << 3}, protowire.AppendVarint(nil, 1<<63-1)...)...),
		"a length beyond all numbers": append(tag(1, protowire.BytesType), protowire.AppendVarint(nil, 1<<63)...),
		"a proof":                     proofOf("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"),
		"a proof again":               append(proofOf("x"), proofOf("y")...),
		"a proof that is long":        proofOf(strings.Repeat("x", MaxProof)),
		"a proof that is no text":     proofOf("\xc3\x28"),
		"a proof as a number":         append(tag(16, protowire.VarintType), 5),
		"a label":                     labelOf("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"),
		"a label again":               append(labelOf("x"), labelOf("y")...),
		"a label that is long":        labelOf(strings.Repeat("x", MaxLabel)),
		"a label that is no text":     labelOf("\xc3\x28"),
		"a label as a number":         append(tag(17, protowire.VarintType), 5),
		"a message beyond its own":    append(tag(12, protowire.BytesType), 2, 2<<3|2, 9),
	} {
		t.Run(name, func(t *testing.T) {
			holdHeader(t, append(bytes.Clone(good), more...))
			holdHeader(t, append(bytes.Clone(more), good...))
			holdHeader(t, bytes.Clone(more))
		})
	}
}

// proofOf is the field of a header that holds a proof.
func proofOf(token string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 16, protowire.BytesType), token)
}

// labelOf is the field of a header that holds a label.
func labelOf(label string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 17, protowire.BytesType), label)
}

func FuzzUnmarshalHeader(f *testing.F) {
	good, err := AppendHeader(nil, usualHeader())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append(bytes.Clone(good), proofOf("eyJhbGciOiJFUzI1NiJ9.e30.c2ln")...))
	f.Add(append(proofOf(strings.Repeat("x", MaxProof+1)), good...))
	f.Add(append(labelOf("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"), good...))
	f.Add(append(bytes.Clone(good), 0x82, 0x01, 2, 0xc3, 0x28))
	f.Add([]byte{12<<3 | 2, 2, 1 << 3, 7, 99})
	f.Add([]byte{0xeb, 0x04, 1 << 3, 1, 0xec, 0x04})
	f.Fuzz(func(t *testing.T, b []byte) { holdHeader(t, bytes.Clone(b)) })
}

// TestHeaderInOnePiece: a header that is filled in place is as any other, and
// empty once it is reset.
func TestHeaderInOnePiece(t *testing.T) {
	var h Header
	want := &crossingv1.Header{
		Id: "x", Policy: &crossingv1.PolicyRef{Serial: 7, Revision: "r"}, Opened: timestamppb.New(time.Unix(5, 6)),
	}
	h.Id = "x"
	h.SetPolicy(7, "r")
	h.SetOpened(time.Unix(5, 6))
	if !proto.Equal(&h.Header, want) {
		t.Errorf("header %v, want %v", &h.Header, want)
	}
	if h.Reset(); !proto.Equal(&h.Header, new(crossingv1.Header)) {
		t.Errorf("header %v after Reset", &h.Header)
	}
}

// BenchmarkHeader: what does a crossing's header cost each gateway?
func BenchmarkHeader(b *testing.B) {
	h := usualHeader()
	encoded, err := AppendHeader(nil, h)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := AppendHeader(encoded[:0], h); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := UnmarshalHeader(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := proto.Marshal(h); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(encoded, new(crossingv1.Header)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
