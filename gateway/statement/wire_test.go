package statement

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

// overWire is a message as it arrives.
func overWire[M proto.Message](t testing.TB, m M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	back := m.ProtoReflect().New().Interface()
	if err := decode(b, back); err != nil {
		t.Fatal(err)
	}
	return back.(M)
}
