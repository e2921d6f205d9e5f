package render

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Object is a JSON object whose members keep their order. A value is a string, a
// bool, a json.Number, an Object, a List or nil.
type Object []Member

// Member is one member of an Object.
type Member struct {
	// Name of the member, in protobuf's JSON spelling.
	Name string
	// Value of the member.
	Value any
}

// List is a JSON array.
type List []any

// wellKnown are the messages that have a JSON form of their own.
const wellKnown = protoreflect.FullName("google.protobuf")

// Number makes the JSON number of an integer of any size.
func Number[T ~int | ~int32 | ~int64 | ~uint32 | ~uint64](n T) json.Number {
	return json.Number(fmt.Sprint(n))
}

// Strings makes a List of strings.
func Strings(texts ...string) List {
	l := make(List, len(texts))
	for i, t := range texts {
		l[i] = t
	}
	return l
}

// Message makes the JSON object of a protobuf message, in the order in which the
// schema declares its fields. It differs from protojson in two points: 64-bit
// integers are numbers, because jq and spreadsheets compare them, and booleans are
// written even if false, because to a script an absent `delivered` is not a false
// one; but for those whose absence says something, such as `agree`.
func Message(m proto.Message) Object {
	return message(m.ProtoReflect(), true)
}

// Sparse is Message without the false booleans: the form in which people write a
// policy.
func Sparse(m proto.Message) Object {
	return message(m.ProtoReflect(), false)
}

func message(m protoreflect.Message, bools bool) Object {
	fields := m.Descriptor().Fields()
	o := make(Object, 0, fields.Len())
	for i := range fields.Len() {
		fd := fields.Get(i)
		always := bools && fd.Kind() == protoreflect.BoolKind && fd.Cardinality() != protoreflect.Repeated && !fd.HasPresence()
		if !m.Has(fd) && !always {
			continue
		}
		o = append(o, Member{fd.JSONName(), field(fd, m.Get(fd), bools)})
	}
	return o
}

func field(fd protoreflect.FieldDescriptor, v protoreflect.Value, bools bool) any {
	switch {
	case fd.IsMap():
		return mapping(fd, v.Map(), bools)
	case fd.IsList():
		l := make(List, v.List().Len())
		for i := range l {
			l[i] = single(fd, v.List().Get(i), bools)
		}
		return l
	}
	return single(fd, v, bools)
}

func mapping(fd protoreflect.FieldDescriptor, m protoreflect.Map, bools bool) Object {
	o := make(Object, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		o = append(o, Member{k.String(), single(fd.MapValue(), v, bools)})
		return true
	})
	sort.Slice(o, func(i, j int) bool { return o[i].Name < o[j].Name })
	return o
}

func single(fd protoreflect.FieldDescriptor, v protoreflect.Value, bools bool) any {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return v.Bool()
	case protoreflect.StringKind:
		return v.String()
	case protoreflect.BytesKind:
		return base64.StdEncoding.EncodeToString(v.Bytes())
	case protoreflect.EnumKind:
		return enum(fd, v.Enum())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return nested(v.Message(), bools)
	default:
		return json.Number(v.String())
	}
}

func enum(fd protoreflect.FieldDescriptor, n protoreflect.EnumNumber) any {
	if d := fd.Enum().Values().ByNumber(n); d != nil {
		return string(d.Name())
	}
	return Number(int32(n))
}

func nested(m protoreflect.Message, bools bool) any {
	if m.Descriptor().ParentFile().Package() != wellKnown {
		return message(m, bools)
	}
	text, err := protojson.Marshal(m.Interface())
	if err != nil { // a time outside of years 1 to 9999: say so rather than fail the whole answer
		return "invalid"
	}
	return strings.Trim(string(text), `"`)
}
