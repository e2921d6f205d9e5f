package message_test

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// describeTheirs are the fields of a message, as Describe has those of a table.
func describeTheirs(d protoreflect.MessageDescriptor, depth int) string {
	var b strings.Builder
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		fmt.Fprintf(&b, "%s%d %s", strings.Repeat(" ", depth), f.Number(), f.JSONName())
		if f.IsList() {
			b.WriteString(" repeated")
		}
		if f.HasOptionalKeyword() {
			b.WriteString(" optional")
		}
		switch f.Kind() {
		case protoreflect.MessageKind:
			fmt.Fprintf(&b, " %s\n%s", f.Message().Name(), describeTheirs(f.Message(), depth+1))
			continue
		case protoreflect.EnumKind:
			for v := range f.Enum().Values().Len() {
				fmt.Fprintf(&b, " %s=%d", f.Enum().Values().Get(v).Name(), f.Enum().Values().Get(v).Number())
			}
		default:
			b.WriteString(" " + f.Kind().String())
		}
		b.WriteString("\n")
	}
	return b.String()
}
