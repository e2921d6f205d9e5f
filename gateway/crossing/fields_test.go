package crossing

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Every field of every message that a frame may hold is checked, those too that
// the schema will have some day: what checkFields does not name fails here.
func TestCheckFieldsNamesAll(t *testing.T) {
	if n := spoil(t, "Frame", func() (*crossingv1.Frame, protoreflect.Message) {
		f := new(crossingv1.Frame)
		return f, f.ProtoReflect()
	}); n < 120 {
		t.Errorf("%d ways to spoil a frame; the test tests nothing", n)
	}
}

// spoil spoils a fresh frame at a message in every way, and at all messages
// within. It says in how many.
func spoil(t *testing.T, path string, fresh func() (*crossingv1.Frame, protoreflect.Message)) int {
	t.Helper()
	n := 0
	refused := func(path string, how func(protoreflect.Message)) {
		t.Helper()
		f, m := fresh()
		if err := checkFields(f); err != nil {
			t.Fatalf("%s: the good frame is refused: %v", path, err)
		}
		how(m)
		n++
		if checkFields(f) == nil {
			t.Errorf("%s is not checked", path)
		}
	}
	refused(path+" with an unknown field", func(m protoreflect.Message) {
		m.SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	})
	_, m := fresh()
	switch m.Interface().(type) {
	case *timestamppb.Timestamp, *durationpb.Duration:
		refused(path+" that no clock could have read", func(m protoreflect.Message) {
			m.Set(m.Descriptor().Fields().ByName("nanos"), protoreflect.ValueOfInt32(-1<<31))
		})
		return n
	}
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		fd := all.Get(i)
		within := path + "." + string(fd.Name())
		switch {
		case fd.IsMap():
			t.Errorf("%s: checkFields knows no maps", within)
		case fd.Kind() == protoreflect.BytesKind: // the frame's size bounds them
		case fd.Kind() == protoreflect.MessageKind && fd.IsList():
			n += spoil(t, within, func() (*crossingv1.Frame, protoreflect.Message) {
				f, m := fresh()
				return f, m.Mutable(fd).List().AppendMutable().Message()
			})
		case fd.Kind() == protoreflect.MessageKind:
			n += spoil(t, within, func() (*crossingv1.Frame, protoreflect.Message) {
				f, m := fresh()
				return f, m.Mutable(fd).Message()
			})
		case fd.Kind() == protoreflect.StringKind && fd.IsList():
			refused(within, func(m protoreflect.Message) {
				m.Mutable(fd).List().Append(protoreflect.ValueOfString(strings.Repeat("x", maxText+1)))
			})
		case fd.Kind() == protoreflect.StringKind:
			refused(within, func(m protoreflect.Message) {
				m.Set(fd, protoreflect.ValueOfString(strings.Repeat("x", maxText+1)))
			})
		case fd.Kind() == protoreflect.EnumKind:
			refused(within, func(m protoreflect.Message) { m.Set(fd, protoreflect.ValueOfEnum(77)) })
		}
	}
	return n
}
