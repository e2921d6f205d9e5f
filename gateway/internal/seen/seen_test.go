package seen

import "testing"

func TestTools(t *testing.T) {
	s := New()
	if _, known := s.Last("retriever", "mcp", "search"); known {
		t.Error("known before it was listed")
	}
	s.Note("retriever", "mcp", "search", [32]byte{1})
	s.Note("retriever", "mcp", "search", [32]byte{2})
	for _, c := range []struct {
		workload, service, tool string
		want                    bool
	}{{"retriever", "mcp", "search", true}, {"retriever", "mcp", "Search", false}, {"retriever", "other", "search", false}, {"other", "mcp", "search", false}} {
		got, known := s.Last(c.workload, c.service, c.tool)
		if known != c.want || known && got != [32]byte{2} {
			t.Errorf("%v: %v, %t", c, got[0], known)
		}
	}
	var none *Tools
	none.Note("w", "s", "t", [32]byte{1})
	if _, known := none.Last("w", "s", "t"); known {
		t.Error("nothing remembers something")
	}
}
