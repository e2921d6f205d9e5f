package jsonscan

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// event is what a handler was told.
type event struct {
	Path int
	Kind Kind
	Text string
}

// events collects what a scanner tells.
type events struct {
	all  []event
	stop error // what it returns
}

func (e *events) Value(path int, kind Kind, text []byte) error {
	e.all = append(e.all, event{path, kind, string(text)})
	return e.stop
}

// scan reads a document in the pieces in which r gives it.
func scan(p *Paths, r io.Reader) ([]event, error) {
	var e events
	s := New(p, &e)
	buf := make([]byte, 512)
	for {
		n, err := r.Read(buf)
		if _, err := s.Write(buf[:n]); err != nil {
			return e.all, err
		}
		if err == io.EOF {
			return e.all, s.End()
		}
	}
}

// scanBoth reads a document as a whole and byte by byte, and wants the same.
func scanBoth(t *testing.T, p *Paths, doc string) ([]event, error) {
	t.Helper()
	whole, err := scan(p, strings.NewReader(doc))
	bytewise, errBytewise := scan(p, iotest.OneByteReader(strings.NewReader(doc)))
	if diff := cmp.Diff(whole, bytewise); diff != "" {
		t.Errorf("%.80q byte by byte (-whole +bytewise):\n%s", doc, diff)
	}
	if fmt.Sprint(err) != fmt.Sprint(errBytewise) {
		t.Errorf("%.80q byte by byte: %v, want %v", doc, errBytewise, err)
	}
	return whole, err
}

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		name     string
		pointers []string
		doc      string
		want     []event
	}{
		{"member", []string{"/model"}, `{"a":1,"model":"m","b":[2]}`, []event{{0, String, "m"}}},
		{"last member", []string{"/model"}, ` { "x" : { "model" : "no" } , "model" : "m" } `, []event{{0, String, "m"}}},
		{"absent", []string{"/model"}, `{"models":["model"],"mode":"l"}`, nil},
		{"document", []string{""}, `[{}]`, []event{{0, Array, ""}}},
		{"number document", []string{""}, `-1.5e+10`, []event{{0, Number, "-1.5e+10"}}},
		{
			"kinds",
			[]string{"/a", "/b", "/c", "/d", "/e", "/f", "/g"},
			`{"a":null,"b":true,"c":false,"d":0,"e":"","f":[],"g":{}}`,
			[]event{{0, Null, ""}, {1, True, ""}, {2, False, ""}, {3, Number, "0"}, {4, String, ""}, {5, Array, ""}, {6, Object, ""}},
		},
		{
			"nested",
			[]string{"/params/name", "/params"},
			`{"params":{"arguments":{"name":"x"},"name":"n"}}`,
			[]event{{1, Object, ""}, {0, String, "n"}},
		},
		{"same key again deeper", []string{"/a/a"}, `{"a":{"a":{"a":1}}}`, []event{{0, Object, ""}}},
		{"array where an object was meant", []string{"/params/name"}, `{"params":["name","n"]}`, nil},
		{
			"elements",
			[]string{"/tools/*/function/name"},
			`{"tools":[{"function":{"name":"f"}},{},[{"function":{"name":"no"}}],{"function":{"name":"g"}}]}`,
			[]event{{0, String, "f"}, {0, String, "g"}},
		},
		{
			"glances",
			[]string{"?/a", "?/b/*", "/c"},
			`{"a":"` + strings.Repeat("x", MaxValue+1) + `","b":["","\u0000","\ud83d","x",1,[2],null],"c":"v"}`,
			[]event{{0, String, "."}, {1, String, ""}, {1, String, "."}, {1, String, "."}, {1, String, "."}, {1, Number, "1"}, {1, Array, ""}, {1, Null, ""}, {2, String, "v"}},
		},
		{"a glance on the way", []string{"?/a", "/a/b"}, `{"a":{"b":"v"}}`, []event{{0, Object, ""}, {1, String, "v"}}},
		{"elements of elements", []string{"/*/*"}, `[[1,2],[],{"*":4},[[5]]]`, []event{{0, Number, "1"}, {0, Number, "2"}, {0, Array, ""}}},
		{
			"any members",
			[]string{"/{}/v", "/a"},
			`{"x":{"v":1},"":{"v":2},"` + strings.Repeat("k", 200) + `":{"v":3},"a":{"v":4},"x":{"w":5},"y":[{"v":6}]}`,
			[]event{{0, Number, "1"}, {0, Number, "2"}, {0, Number, "3"}, {1, Object, ""}},
		},
		{"any members alone", []string{"/{}"}, `{"x":1,"\ud83d":2}`, []event{{0, Number, "1"}, {0, Number, "2"}}},
		{
			"pointer escapes",
			[]string{"/a~1b/~0", "/_meta/io.x~1v"},
			`{"a/b":{"~":1},"_meta":{"io.x/v":2}}`,
			[]event{{0, Number, "1"}, {1, Number, "2"}},
		},
		{"as deep as can be asked for", []string{strings.Repeat("/a", maxSteps)}, strings.Repeat(`{"a":`, maxSteps) + "1" + strings.Repeat("}", maxSteps), []event{{0, Number, "1"}}},
		{"escapes in a key", []string{"/model"}, `{"mod\u0065l":"m"}`, []event{{0, String, "m"}}},
		{
			"escapes in a value",
			[]string{"/v"},
			`{"v":"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00é😀"}`,
			[]event{{0, String, "\"\\/\b\f\n\r\té😀é😀"}},
		},
		{"halves where nobody asked", []string{"/v"}, `{"x":"\ud83d","y":{"\ude00":"\u0000"},"v":1}`, []event{{0, Number, "1"}}},
		{"repeated where nobody asked", []string{"/v"}, `{"x":1,"x":2,"y":{"v":1,"v":2},"v":3}`, []event{{0, Number, "3"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := scanBoth(t, MustCompile(tt.pointers...), tt.doc)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.doc, diff)
			}
		})
	}
}

func TestAmbiguous(t *testing.T) {
	for _, doc := range []string{
		`{"params":{"name":1,"name":1}}`,
		`{"params":{},"params":{}}`, // on the way to what was asked for
		`{"params":{"name":1},"x":0,"p\u0061rams":null}`,
		`{"params":{"Name":1}}`,
		`{"Params":{}}`,
		`{"param\u017f":1}`, // folds to an "s"
		`{"paramſ":1}`,
		`{"\u0000":1}`,
		`{"params\u0000":1}`,
		`{"` + strings.Repeat("x", 100) + `\u0000":1}`,
		`{"\ud800x":1}`,
		`{"\ud800\n":1}`,
		`{"\ud800\n\udc00":1}`,
		`{"\ud800":1}`,
		`{"\ud800\u0041":1}`,
		`{"\udc00":1}`,
		`{"params":{"name":"\ud83d"}}`,
		`{"params":{"name":"a\u0000b"}}`,
	} {
		_, err := scanBoth(t, MustCompile("/params/name"), doc)
		if !errors.Is(err, ErrAmbiguous) {
			t.Errorf("%s: %v, want it ambiguous", doc, err)
		}
	}
}

func TestSyntax(t *testing.T) {
	for _, doc := range []string{
		"", " ", "{", "[", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{1:2}`, `{a:1}`, `{"a"1}`, `{"a":}`,
		`[1,]`, `[,1]`, `[1 2]`, `[1}`, `{"a":1]`, `]`, `}`, `[]]`, `{}{}`, `1 2`, `"a" "b"`,
		`tru`, `trux`, `nul`, `nulll`, `falsy`, `True`, `NaN`, `Infinity`, `undefined`,
		`-`, `+1`, `01`, `-01`, `1.`, `.5`, `1.e1`, `1e`, `1e+`, `1ee1`, `1.2.3`, `0x1`, `1_0`, `--1`, `1-`,
		`"`, `"a`, `"\`, `"\x"`, `"\u12"`, `"\u123g"`, `"\u"`, `'a'`, "\"a\nb\"", "\"\x00\"", "\"\x1f\"", `"\'"`,
		"\xef\xbb\xbf{}", "// x\n{}", "{}//", "/**/1", "\v1", "\u00a01",
		"\"\x80\"", "\"\xc0\xaf\"", "\"\xc3\"", "\"\xc3", "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"", "\"\xf0\x80\x80\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xff\"", "\"\xc3a\"",
	} {
		_, err := scanBoth(t, MustCompile("/a"), doc)
		if !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v, want a fault in the syntax", doc, err)
		}
	}
}

func TestLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat(`[{"a":`, n/2) + "1" + strings.Repeat("}]", n/2) }
	for _, tt := range []struct {
		name     string
		fits     string
		tooLarge string
	}{
		{"depth", nested(MaxDepth), "[" + nested(MaxDepth) + "]"},
		{"number", strings.Repeat("1", MaxNumber), strings.Repeat("1", MaxNumber+1)},
		{"number asked for", `{"v":` + strings.Repeat("1", MaxNumber) + "}", `{"v":` + strings.Repeat("1", MaxNumber+1) + "}"},
		{"key", `{"` + strings.Repeat("k", MaxKey) + `":1}`, `{"` + strings.Repeat("k", MaxKey+1) + `":1}`},
		{"escapes in a key", `{"` + strings.Repeat(`\n`, MaxKey/2) + `":1}`, `{"` + strings.Repeat(`\n`, MaxKey/2) + `k":1}`},
		{"value", `{"v":"` + strings.Repeat("v", MaxValue) + `"}`, `{"v":"` + strings.Repeat("v", MaxValue+1) + `"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := MustCompile("/v")
			if _, err := scanBoth(t, p, tt.fits); err != nil {
				t.Errorf("at the bound: %v", err)
			}
			if _, err := scanBoth(t, p, tt.tooLarge); !errors.Is(err, ErrLimit) {
				t.Errorf("beyond the bound: %v, want ErrLimit", err)
			}
			for _, much := range []string{"v", "1", "k", "é", "\xff", `\n`} { // in place of the end of what is too long
				doc := strings.TrimRight(tt.tooLarge, `":}]`) + strings.Repeat(much, 600)
				if _, err := scanBoth(t, p, doc); err == nil {
					t.Errorf("far beyond the bound, with %q: no error", much)
				}
			}
		})
	}
}

// plain looks at eight bytes at once: every byte at every place among others.
func TestPlain(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			p := []byte(strings.Repeat("a~ ", 7))
			p[at] = byte(c)
			want := len(p)
			if c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
				want = at
			}
			if got := plain(p); got != want {
				t.Errorf("plain with %#x at %d = %d, want %d", c, at, got, want)
			}
		}
	}
}

func TestLongString(t *testing.T) {
	s := New(MustCompile("/v"), &events{})
	s.Write([]byte(`{"image":"`))
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = 'A'
	}
	for range MaxString >> 20 {
		if _, err := s.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Write([]byte("A")); !errors.Is(err, ErrLimit) {
		t.Errorf("a string beyond the bound: %v, want ErrLimit", err)
	}
}

func TestErrorsAreFinalAndSayWhere(t *testing.T) {
	s := New(MustCompile(), &events{})
	n, err := s.Write([]byte(`{"a": x}`))
	if want := "not JSON: not a value at byte 6"; n != 6 || err == nil || err.Error() != want {
		t.Errorf("Write = %d, %v, want 6, %s", n, err, want)
	}
	if n, again := s.Write([]byte("1}")); n != 0 || !errors.Is(again, err) {
		t.Errorf("Write after an error = %d, %v, want 0 and the same error", n, again)
	}
	if !errors.Is(s.End(), err) {
		t.Errorf("End after an error = %v, want the same error", s.End())
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Errorf("%T is no *Error", err)
	}
}

func TestHandlerEndsTheScan(t *testing.T) {
	stop := errors.New("enough")
	e := &events{stop: stop}
	s := New(MustCompile("/a", "/b"), e)
	if n, err := s.Write([]byte(`{"a":1,"b":2}`)); n != 6 || !errors.Is(err, stop) {
		t.Errorf("Write = %d, %v, want 6, %v", n, err, stop)
	}
	if len(e.all) != 1 || !errors.Is(s.End(), stop) {
		t.Errorf("told of %v, then End = %v", e.all, s.End())
	}
}

func TestReset(t *testing.T) {
	p := MustCompile("/a")
	var e events
	s := New(p, &e)
	s.Write([]byte(`{"a":"x`))
	s.Reset(p, &e)
	if _, err := s.Write([]byte(`{"a":"y"}`)); err != nil || s.End() != nil {
		t.Fatalf("after Reset: %v, %v", err, s.End())
	}
	if s.Offset() != 9 || len(e.all) != 1 || e.all[0].Text != "y" {
		t.Errorf("after Reset: %d bytes, %v", s.Offset(), e.all)
	}
}

func TestCompileRefuses(t *testing.T) {
	many := make([]string, maxNodes+1)
	for i := range many {
		many[i] = fmt.Sprintf("/%d", i)
	}
	if _, err := Compile(many[:maxNodes]...); err != nil {
		t.Errorf("%d places: %v", maxNodes, err)
	}
	for _, pointers := range [][]string{
		{"model"},
		{"/a", "/b", "/a"},
		{"", ""},
		{strings.Repeat("/a", maxSteps+1)},
		many,
	} {
		if _, err := Compile(pointers...); err == nil {
			t.Errorf("Compile(%.60q) has no error", pointers)
		}
	}
}

// TestWhole: what is whole is so at its last byte, whatever follows.
func TestWhole(t *testing.T) {
	for _, doc := range []string{`{"a":[1,{}]}`, `[]`, `"x"`, `null`} {
		s := New(MustCompile("/a"), told{})
		for i := range len(doc) {
			if s.Whole() {
				t.Errorf("%s is whole after %d bytes", doc, i)
			}
			if _, err := s.Write([]byte(doc[i : i+1])); err != nil {
				t.Fatal(err)
			}
		}
		if !s.Whole() {
			t.Errorf("%s is not whole", doc)
		}
		if _, err := s.Write([]byte(" x")); err == nil || !s.Whole() {
			t.Errorf("behind %s: %v, whole %t", doc, err, s.Whole())
		}
	}
	if s := New(MustCompile("/a"), told{}); s.Whole() || s.End() == nil || s.Whole() {
		t.Error("nothing is whole")
	}
}

// told is told, and does nothing.
type told struct{}

func (told) Value(int, Kind, []byte) error { return nil }

// A short string at each length around the bound is told as one byte by byte is.
func TestShortTexts(t *testing.T) {
	for n := short - 3; n < short+3; n++ {
		value := strings.Repeat("x", n)
		got, err := scanBoth(t, MustCompile("/"+value, "?/g"), `{"`+value+`":"`+value+`","g":"`+value+`"}`)
		if err != nil || len(got) != 2 || got[0].Text != value || got[1].Text != "." {
			t.Errorf("of %d bytes: %v, %v", n, got, err)
		}
	}
}
