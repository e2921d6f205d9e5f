package crossing

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// filler fills messages by what the schema says, so that a field that it will
// have some day is filled too.
type filler struct {
	*rand.Rand
	wild bool // values that checkFields refuses, too
	made bool // nothing that only a decoder puts in
}

// fill gives most fields a value, and some of them their default one.
func (f *filler) fill(m protoreflect.Message) {
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		fd := all.Get(i)
		switch {
		case f.IntN(4) == 0:
		case fd.IsList() && fd.Kind() == protoreflect.MessageKind:
			for range f.IntN(3) {
				f.fill(m.Mutable(fd).List().AppendMutable().Message())
			}
		case fd.IsList():
			for range f.IntN(3) {
				m.Mutable(fd).List().Append(f.value(m, fd))
			}
		case fd.Kind() == protoreflect.MessageKind:
			f.fill(m.Mutable(fd).Message())
		default:
			m.Set(fd, f.value(m, fd))
		}
	}
	if f.wild && !f.made && f.IntN(8) == 0 {
		m.SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), f.Uint64()))
	}
}

func (f *filler) value(m protoreflect.Message, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(f.IntN(2) == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(f.signed(int64(fd.Enum().Values().Len()) - 1)))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(f.signed(1e9 - 1)))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(f.signed(2e9))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(f.Uint64() >> f.IntN(64)))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(f.Uint64() >> f.IntN(64))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(strings.Repeat("b", f.IntN(300))))
	case protoreflect.StringKind:
		texts := []string{"", "x", "spiffe://near.test/ai/agent", "é漢", strings.Repeat("y", f.IntN(600))}
		if f.wild {
			texts = append(texts, "\xff", strings.Repeat("z", maxText+1))
		}
		return protoreflect.ValueOfString(texts[f.IntN(len(texts))])
	}
	panic("no values for " + string(m.Descriptor().Name()) + "." + string(fd.Name()))
}

// signed is a number up to the most that there may be, or any number.
func (f *filler) signed(most int64) int64 {
	if f.wild && f.IntN(4) == 0 {
		return int64(f.Uint64()) >> f.IntN(64)
	}
	return f.Int64N(most + 1)
}

// library is what the protobuf library makes of a message.
func library(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// TestAppendFrameAsTheLibrary: the same bytes, and a frame that is refused
// leaves nothing behind.
func TestAppendFrameAsTheLibrary(t *testing.T) {
	before := []byte("before")
	encoded := 0
	for seed := range uint64(20_000) {
		fill := filler{Rand: rand.New(rand.NewPCG(1, seed)), wild: seed%2 == 1}
		f := new(crossingv1.Frame)
		fill.fill(f.ProtoReflect())
		want, err := library(f)
		fits := err == nil && checkFields(f) == nil && len(want) <= MaxFrame
		got, err := AppendFrame(bytes.Clone(before), f)
		switch {
		case fits != (err == nil):
			t.Fatalf("seed %d: AppendFrame = %v, want success: %t", seed, err, fits)
		case !fits:
			want = nil
		default:
			encoded++
		}
		if !bytes.Equal(got, append(bytes.Clone(before), want...)) {
			t.Fatalf("seed %d: %v is encoded as\n%x, want\n%x", seed, f, got, want)
		}
	}
	if encoded < 10_000 {
		t.Errorf("%d frames encoded; the test tests little", encoded)
	}
}

// TestEncoder: what the parts of a frame are encoded as is what the frame is.
func TestEncoder(t *testing.T) {
	const gateway, run = "spiffe://near.test/sallyport/gateway/near-1", "0123456789abcdef0123456789abcdef"
	e, err := NewEncoder(gateway, run)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(2_000) {
		fill := filler{Rand: rand.New(rand.NewPCG(2, seed)), wild: seed%2 == 1, made: true}
		open := &crossingv1.Frame{Gateway: gateway, Run: run, Open: new(crossingv1.Half)}
		end := &crossingv1.Frame{Gateway: gateway, Run: run, Close: new(crossingv1.Close)}
		fill.fill(open.Open.ProtoReflect())
		fill.fill(end.Close.ProtoReflect())
		got, err := e.AppendOpen(nil, open.Open)
		want, werr := MarshalFrame(open)
		if !bytes.Equal(got, want) || (err == nil) != (werr == nil) {
			t.Fatalf("seed %d: AppendOpen = %x, %v; want %x, %v", seed, got, err, want, werr)
		}
		got, err = e.AppendClose(nil, end.Close)
		want, werr = MarshalFrame(end)
		if !bytes.Equal(got, want) || (err == nil) != (werr == nil) {
			t.Fatalf("seed %d: AppendClose = %x, %v; want %x, %v", seed, got, err, want, werr)
		}
	}
	end := &crossingv1.Close{Id: "x"}
	want, err := e.AppendClose(nil, end)
	end.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	if got, gerr := e.AppendClose(nil, end); err != nil || gerr != nil || !bytes.Equal(got, want) {
		t.Errorf("with a field that the schema does not know: %x, %v; want %x", got, gerr, want)
	}
	if _, err := NewEncoder("\xff", run); err == nil {
		t.Error("an encoder for a gateway that is no text")
	}
}

// TestEnumerationsHaveNoGaps: value relies on it.
func TestEnumerationsHaveNoGaps(t *testing.T) {
	enums := crossingv1.File_sallyport_crossing_v1_crossing_proto.Enums()
	messages := crossingv1.File_sallyport_crossing_v1_crossing_proto.Messages()
	all := []protoreflect.EnumDescriptors{enums}
	for i := range messages.Len() {
		all = append(all, messages.Get(i).Enums())
	}
	n := 0
	for _, enums := range all {
		for i := range enums.Len() {
			values := enums.Get(i).Values()
			for number := range values.Len() {
				n++
				if values.ByNumber(protoreflect.EnumNumber(number)) == nil {
					t.Errorf("%s has no value %d, and %d values", enums.Get(i).Name(), number, values.Len())
				}
			}
		}
	}
	if n < 40 {
		t.Errorf("%d values; the test tests nothing", n)
	}
}

// BenchmarkFrame: what does encoding and checking the frames of a crossing cost?
func BenchmarkFrame(b *testing.B) {
	e, err := NewEncoder(egressGateway, key().GetRun())
	if err != nil {
		b.Fatal(err)
	}
	open, end := egressHalf(), closing(crossingv1.Side_EGRESS)
	buf := make([]byte, 0, 4<<10)
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.AppendOpen(buf, open); err != nil {
				b.Fatal(err)
			}
		}
	})
	spoken := egressHalf()
	spoken.Operation = chat()
	b.Run("open with a model", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.AppendOpen(buf, spoken); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("close", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.AppendClose(buf, end); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, f := range map[string]*crossingv1.Frame{
		"library open":  egressFrame(open, nil),
		"library close": egressFrame(nil, end),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (proto.MarshalOptions{Deterministic: true}).MarshalAppend(buf, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
