package crossing

import (
	"strings"
	"testing"
	"unicode/utf8"
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

func TestMessage(t *testing.T) {
	for _, c := range []struct{ said, want string }{
		{"", ""},
		{`no model "x"`, `no model "x"`},
		{"unknown service none", "unknown service none"},
		{"100%25 of h%C3%A9llo", "100% of héllo"},
		{"%zz 5% %2", "%zz 5% %2"},
		{"%+f%-1%0x", "%+f%-1%0x"},
		{"two%0Alines %22%E2%80%AEevil%22", `two\nlines \"\u202eevil\"`},
		{"%1B[2J", `\x1b[2J`},
		{"raw \x1b and %FF", `raw \x1b and \xff`},
		{strings.Repeat("x", 5000), strings.Repeat("x", 1024)},
		{strings.Repeat("%C3%A9", 5000), strings.Repeat("é", 512)},
		{"x" + strings.Repeat("%C3%A9", 5000), "x" + strings.Repeat("é", 511)},
		{strings.Repeat("%0A", 5000), strings.Repeat(`\n`, 512)},
	} {
		if got := Message(c.said); got != c.want {
			t.Errorf("Message(%.40q) = %q, want %q", c.said, got, c.want)
		}
	}
}

// FuzzMessage: whatever a destination says, a frame may hold it and a terminal
// show it.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{"no such model", "h%C3%A9llo%0A", "%", "%E2%80", "\xff", strings.Repeat("%F0%9F%98%80", 400)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, said string) {
		got := Message(said)
		if err := checkMessage(got); err != nil || !utf8.ValidString(got) || strings.ContainsFunc(got, unprintable) {
			t.Errorf("Message(%q) = %q, %v", said, got, err)
		}
	})
}
