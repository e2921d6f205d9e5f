package jsonscan

import "testing"

func TestSchema(t *testing.T) {
	type place uint8
	const b, a place = 1, 2
	s := MustSchema(map[string]place{"/b": b}, map[string]place{"/a": a})
	if len(s.Is) != 2 || s.Is[0] != a || s.Is[1] != b {
		t.Errorf("places %v, want those of /a and /b", s.Is)
	}
	defer func() {
		if recover() == nil {
			t.Error("one pointer is two places")
		}
	}()
	MustSchema(map[string]place{"/a": a}, map[string]place{"/a": b})
}
