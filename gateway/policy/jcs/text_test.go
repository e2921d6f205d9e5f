package jcs

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{` { "b" : [ 1.0 , -0, 1e3, 0.000001, 1e-7, 1E21, 123456789012345680000 ] , "a" : {} } `, `{"a":{},"b":[1,0,1000,0.000001,1e-7,1e+21,123456789012345680000]}`},
		{`[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001]`, `[333333333.3333333,1e+30,4.5,0.002,1e-27]`}, // RFC 8785, section 3.2.4
		{`{"\u20ac":1,"\r":2,"1":3,"\ud83d\ude00":4,"\ufb33":5}`, "{\"\\r\":2,\"1\":3,\"\u20ac\":1,\"\U0001f600\":4,\"\ufb33\":5}"},
		{`"\\ud800 \/"`, `"\\ud800 /"`},
		{`{"":{"":[]}}`, `{"":{"":[]}}`},
		{`null`, `null`},
	} {
		got, err := Canonical([]byte(tt.text))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.text, got, err, tt.want)
		}
		if again, err := Canonical(got); err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s again: %s, %v", got, again, err)
		}
	}
}

func TestNotCanonical(t *testing.T) {
	for _, text := range []string{
		`{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `[{"x":{"b":1,"c":2,"b":3}}]`, "\"\xff\"", `"\ud800"`, `"\udc00"`, `"\ud800x\udc00"`, `"\ud800\n\udc00"`, `"\ud800\ud800\udc00"`,
		`1e999`, `{"a":1`, `[1,]`, `1 2`, `{"a" 1}`, ``, `[1]]`, `"\u12"`,
	} {
		if got, err := Canonical([]byte(text)); err == nil {
			t.Errorf("%s is %s", text, got)
		}
	}
}

// FuzzCanonical asks another implementation, which knows arrays and objects alone, and
// takes some texts that are no JSON.
func FuzzCanonical(f *testing.F) {
	f.Add(`{"b":1.50,"a":{"d":[1e400,2],"c":"\u00e9"}}`)
	f.Add(`[1e23,5e-324,-1.7976931348623157e308,0.1,1e21,999999999999999900000]`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Canonical([]byte(text))
		if err != nil {
			return
		}
		if again, err := Canonical(got); err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s again is %s, %v", got, again, err)
		}
		if plain := strings.TrimSpace(text); !strings.HasPrefix(plain, "{") && !strings.HasPrefix(plain, "[") {
			return
		}
		if want, err := jcs.Transform([]byte(text)); err == nil && !bytes.Equal(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// Keys stand in the order of UTF-16, which is not that of UTF-8.
func TestCompareKeys(t *testing.T) {
	keys := []string{"", "a", "ab", "b", "\u00e9", "\ud7ff", "\ue000", "\ufb33", "\uffff", "\U00010000", "\U0001f600", "\U0010ffff", "a\ue000", "a\U00010000", "\U00010000\ue000", "\U00010000\U00010000", "\n", "\"", "\\"}
	for _, a := range keys {
		for _, b := range keys {
			if got, want := compareKeys(a, b), compareUTF16(a, b); got != want {
				t.Errorf("%q and %q: %d, want %d", a, b, got, want)
			}
		}
	}
}

func BenchmarkCanonical(b *testing.B) {
	text := []byte(`{"name":"add","description":"Adds two numbers.","inputSchema":{"type":"object","properties":{"b":{"type":"number","minimum":0.5},"a":{"type":"number"}},"required":["a","b"]}}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Canonical(text); err != nil {
			b.Fatal(err)
		}
	}
}
