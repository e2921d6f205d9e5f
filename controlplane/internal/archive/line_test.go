package archive

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestLineKeepsAll: whatever is in a record comes out again, field by field, those
// that are added to it later, too.
func TestLineKeepsAll(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 3_000 {
		r := &crossingv1.Record{}
		fill(rnd, r.ProtoReflect())
		roundTrip(t, Entry{Opened: pick[int64](rnd, 0, -1, 1_795_694_400_000_000), Egress: "a", Ingress: "b", Record: r})
	}
}

func roundTrip(t *testing.T, e Entry) {
	t.Helper()
	before := proto.CloneOf(e.Record)
	l, err := lineOf(e)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(e.Record, before) {
		t.Fatalf("changed what was given:\n%v\n%v", e.Record, before)
	}
	got, err := l.entry()
	if err != nil || !same(got, e) {
		t.Fatalf("%v\n%v\n%v", err, e.Record, got.Record)
	}
}

// TestOddValuesStay as they are: a time that is none, the ends of time, unknown fields.
func TestOddValuesStay(t *testing.T) {
	unknown := &timestamppb.Timestamp{Seconds: 1}
	unknown.ProtoReflect().SetUnknown([]byte{0x78, 1})
	for _, at := range []*timestamppb.Timestamp{
		nil,
		{},
		unknown,
		{Nanos: -1},
		{Seconds: math.MaxInt64},
		{Seconds: math.MinInt64, Nanos: 1 << 30},
		timestamppb.New(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)),
		{Seconds: 1_795_694_400, Nanos: 1},
	} {
		for _, d := range []*durationpb.Duration{nil, {}, {Seconds: math.MaxInt64}, {Seconds: 1, Nanos: -1}, {Seconds: -1, Nanos: -1}, {Nanos: 5}} {
			for _, opened := range []int64{0, 1_795_694_400_000_000, 253_402_300_799_000_000} {
				end := &crossingv1.End{Open: at, Duration: d, RequestBytes: math.MaxUint64}
				roundTrip(t, Entry{Opened: opened, Record: &crossingv1.Record{Egress: end}})
				roundTrip(t, Entry{Opened: opened, Record: &crossingv1.Record{Egress: &crossingv1.End{}, Ingress: end}})
			}
		}
	}
}

// fill sets about half of the fields of a message to some value.
func fill(rnd *rand.Rand, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case rnd.IntN(2) == 0:
		case f.IsList() && f.Message() != nil:
			fill(rnd, m.Mutable(f).List().AppendMutable().Message())
		case f.IsList():
			m.Mutable(f).List().Append(scalar(rnd, f))
		case f.Message() != nil:
			fill(rnd, m.Mutable(f).Message())
		default:
			m.Set(f, scalar(rnd, f))
		}
	}
}

func scalar(rnd *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(pick(rnd, "", "a", "ü", "spiffe://a/b"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rnd.IntN(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(pick(rnd, 0, 1, 2, 99)))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(pick[uint64](rnd, 0, 1, math.MaxUint64, rnd.Uint64()))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(pick[uint32](rnd, 0, 200, math.MaxUint32))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(pick[int64](rnd, 0, -1, 1_795_694_400, math.MaxInt64))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(pick[int32](rnd, 0, 999_999_999, -1))
	}
	panic("no value for " + f.FullName())
}

func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }
