package crossing

import (
	"strings"
	"testing"
)

func TestAuthority(t *testing.T) {
	for _, c := range []struct{ asked, want string }{
		{"llm.azure.mesh:8000", "llm.azure.mesh:8000"},
		{"[2001:db8::1]:443", "[2001:db8::1]:443"},
		{"", ""},
		{"a b", `"a b"`},
		{"user:secret@host:1", `"@host:1"`},
		{"é\x1b[2J", `"\u00e9\x1b[2J"`},
		{strings.Repeat("a", 1000), strings.Repeat("a", 320)},
	} {
		got := Authority(c.asked)
		if got != c.want {
			t.Errorf("Authority(%q) = %q, want %q", c.asked, got, c.want)
		}
		if !visible(got) {
			t.Errorf("Authority(%q) = %q is not visible", c.asked, got)
		}
	}
}

func TestDetail(t *testing.T) {
	for _, c := range []struct{ said, want string }{
		{`2 Host fields: "a", "b"`, `2 Host fields: "a", "b"`},
		{"two\nlines", `two\nlines`},
		{"\xff\x1b[2Jé", `\xff\x1b[2J\u00e9`},
		{strings.Repeat("x", 1000), strings.Repeat("x", 512)},
	} {
		if got := Detail(c.said); got != c.want {
			t.Errorf("Detail(%q) = %q, want %q", c.said, got, c.want)
		}
	}
}
