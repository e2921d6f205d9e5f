package decoder

import (
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestSpoilt: of vectors that are changed here and there, both decoders accept the same
// frames, and join them to the same record.
func TestSpoilt(t *testing.T) {
	const rounds = 40
	names, all := readVectors(t)
	var cases [][]string
	var about []string
	for i, v := range all {
		for round := range uint64(rounds) {
			s := spoiler{rand.New(rand.NewPCG(uint64(i), round))}
			if c := s.vector(t, v); len(c) > 0 {
				cases, about = append(cases, c), append(about, names[i])
			}
		}
	}
	accepted, refused := 0, 0
	for i, got := range decode(t, cases) {
		egress, ingress := new(crossing.Account), new(crossing.Account)
		for n, text := range cases[i] {
			f, err := accept(t, text)
			if err != nil {
				refused++
			} else {
				accepted++
				add(f, egress, ingress)
				if digest := digestOf(f); digest != got.Frames[n].Digest {
					t.Errorf("%s, frame %d: digest %q, and by the other decoder %q\n%s", about[i], n, digest, got.Frames[n].Digest, text)
				}
			}
			if (err == nil) != (got.Frames[n].Refused == "") {
				t.Errorf("%s, frame %d: %v, and by the other decoder %q\n%s", about[i], n, err, got.Frames[n].Refused, text)
			}
		}
		if d := cmp.Diff(shown(t, crossing.Join(egress, ingress)), got.Record); d != "" && !t.Failed() {
			t.Errorf("%s: record (-want +got):\n%s", about[i], d)
		}
	}
	if accepted < 500 || refused < 500 {
		t.Errorf("%d frames accepted and %d refused; the test tests little", accepted, refused)
	}
}

// TestBroken: of encodings that are broken here and there, both decoders decode the
// same, to the same, and refuse the same.
func TestBroken(t *testing.T) {
	const rounds = 300
	_, all := readVectors(t)
	var cases [][]string
	for i, v := range all {
		for round := range uint64(rounds) {
			s := spoiler{rand.New(rand.NewPCG(uint64(i), round))}
			f := v.Frames[s.IntN(len(v.Frames))]
			cases = append(cases, []string{s.broken(t, f.Hex)})
		}
	}
	decoded := 0
	for i, got := range decode(t, cases) {
		text, said := cases[i][0], got.Frames[0]
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		f, err := crossing.UnmarshalFrame(data)
		if (err == nil) != (said.Frame != nil) {
			t.Errorf("%v, and by the other decoder %q\n%s", err, said.Refused, text)
			continue
		}
		if err != nil {
			continue
		}
		decoded++
		if d := cmp.Diff(shown(t, f), said.Frame); d != "" {
			t.Errorf("frame (-want +got):\n%s\n%s", d, text)
		}
		if _, err := accept(t, text); (err == nil) != (said.Refused == "") {
			t.Errorf("%v, and by the other decoder %q\n%s", err, said.Refused, text)
		}
	}
	if decoded < 500 || decoded > len(cases)-500 {
		t.Errorf("%d of %d decoded; the test tests little", decoded, len(cases))
	}
}

// accept decodes and checks a frame.
func accept(t *testing.T, text string) (*crossingv1.Frame, error) {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	f, err := crossing.UnmarshalFrame(data)
	if err != nil {
		return nil, err
	}
	gateway, err := spiffeid.FromString(f.GetGateway())
	if err != nil {
		return nil, err
	}
	return f, crossing.CheckFrame(f, gateway)
}

// digestOf is the join digest of an opening or an end, in hex; "" of any other frame.
func digestOf(f *crossingv1.Frame) string {
	var sum [32]byte
	switch {
	case f.GetOpen() != nil:
		sum = crossing.OpenDigest(f.GetOpen())
	case f.GetClose() != nil:
		sum = crossing.CloseDigest(f.GetClose())
	default:
		return ""
	}
	return hex.EncodeToString(sum[:])
}

// add puts a frame into its account.
func add(f *crossingv1.Frame, egress, ingress *crossing.Account) {
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

// shown is a message as its JSON says it.
func shown(t *testing.T, m proto.Message) any {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// spoiler changes messages.
type spoiler struct{ *rand.Rand }

// vector gives a vector's good frames, one or two of which say something else.
func (s *spoiler) vector(t *testing.T, v vector) []string {
	t.Helper()
	var frames []string
	for _, f := range v.Frames {
		if f.Frame == nil {
			continue
		}
		data, err := hex.DecodeString(f.Hex)
		if err != nil {
			t.Fatal(err)
		}
		m := new(crossingv1.Frame)
		if err := proto.Unmarshal(data, m); err != nil {
			t.Fatal(err)
		}
		if s.IntN(2) == 0 {
			s.spoil(m.ProtoReflect())
		}
		if data, err = proto.Marshal(m); err != nil { // a text was cut within a character
			continue
		}
		frames = append(frames, hex.EncodeToString(data))
	}
	return frames
}

// broken gives an encoding with a few bytes of it changed, gone, or there twice.
func (s *spoiler) broken(t *testing.T, text string) string {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for range 1 + s.IntN(2) {
		from := s.IntN(len(data))
		to := from + s.IntN(min(len(data)-from, 40))
		switch s.IntN(5) {
		case 0:
			data = slices.Delete(data, from, to)
		case 1:
			data = slices.Insert(data, from, slices.Clone(data[from:to])...)
		case 2:
			data[from] ^= 1 << s.IntN(8)
		default:
			data[from] = byte(s.IntN(256))
		}
		if len(data) == 0 {
			break
		}
	}
	return hex.EncodeToString(data)
}

// spoil changes one field, at whatever depth.
func (s *spoiler) spoil(m protoreflect.Message) {
	all := m.Descriptor().Fields()
	fd := all.Get(s.IntN(all.Len()))
	for range 4 { // fields that are there come first
		if m.Has(fd) {
			break
		}
		fd = all.Get(s.IntN(all.Len()))
	}
	switch m := m.Interface().(type) {
	case *timestamppb.Timestamp:
		m.Seconds, m.Nanos = s.pick(0, 946684799, 946684800, 7258118399, 7258118400, -1), int32(s.pick(0, 1, 999_999_999))
		return
	case *durationpb.Duration:
		m.Seconds, m.Nanos = s.pick(0, 1, -1, 366*24*3600, 366*24*3600+1, 0), int32(s.pick(0, 1, -1, 999_999_999))
		return
	}
	switch {
	case fd.IsList() && fd.Kind() == protoreflect.Uint64Kind && s.IntN(3) > 0:
		m.Mutable(fd).List().Append(protoreflect.ValueOfUint64(uint64(s.pick(0, 1, 2, 5000, -1))))
	case fd.IsList() && fd.Kind() == protoreflect.MessageKind && m.Get(fd).List().Len() > 0 && s.IntN(3) > 0:
		list := m.Mutable(fd).List()
		s.spoil(list.Get(s.IntN(list.Len())).Message())
	case fd.IsList() && fd.Kind() == protoreflect.StringKind && s.IntN(3) > 0:
		m.Mutable(fd).List().Append(protoreflect.ValueOfString(s.text("search")))
	case fd.IsList() && fd.Kind() == protoreflect.MessageKind && s.IntN(3) > 0:
		s.spoil(m.Mutable(fd).List().AppendMutable().Message())
	case fd.IsList() || s.IntN(4) == 0:
		m.Clear(fd)
	case fd.Kind() == protoreflect.MessageKind:
		s.spoil(m.Mutable(fd).Message())
	default:
		m.Set(fd, s.value(m, fd))
	}
}

func (s *spoiler) pick(of ...int64) int64 { return of[s.IntN(len(of))] }

func (s *spoiler) value(m protoreflect.Message, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!m.Get(fd).Bool())
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(s.IntN(fd.Enum().Values().Len())))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(s.pick(0, 1, 200, 1<<32-1)))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(s.pick(0, 1, 2210, -1)))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("bytes"))
	}
	return protoreflect.ValueOfString(s.text(m.Get(fd).String()))
}

// text is another text than there is, but perhaps for a bit.
func (s *spoiler) text(was string) string {
	const digits = "5c0ffee0c0ffee0c0ffee0c0ffee0c0f"
	texts := []string{
		"", "x", "é漢", "a\x1bb", "\x7f", "\u0085", "a\nb", strings.Repeat("y", 64), strings.Repeat("y", 65), strings.Repeat("y", 320),
		strings.Repeat("y", 321), strings.Repeat("y", 512), strings.Repeat("y", 513), strings.Repeat("é", 512), strings.Repeat("é", 513),
		strings.Repeat("y", 4096), strings.Repeat("y", 4097), digits, digits[:16], digits + digits, "sha256:" + digits + digits,
		strings.Repeat("0", 32), strings.Repeat("0", 64), "sha256:" + strings.Repeat("0", 64), strings.ToUpper(was), was + "0", was + "/", was + "\n",
		was[:len(was)/2], "spiffe://azure.acme.example/sallyport/gateway/azure-1", "spiffe://onprem.acme.example/sallyport/gateway/onprem-1",
		"spiffe://elsewhere.example", "spiffe://elsewhere.example/", "spiffe://a/..", "spiffe:///x", "spiffe://A.example/x", "http://a/x",
		"01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88", "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d89", "01a207e6-e4d8-4d3e-9a54-1f0e6b7c2d88", "01a207e6-e4d8-7d3e-ca54-1f0e6b7c2d88",
	}
	return texts[s.IntN(len(texts))]
}
