package jcs

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
)

// decoded is a JSON text as Append takes it; nil if it is none.
func decoded(text string) any {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

func TestAppend(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`null`, `null`},
		{`true`, `true`},
		{`-7`, `-7`},
		{`[ ]`, `[]`},
		{`{ }`, `{}`},
		{`{"b": 1, "a": [true, null, "x"]}`, `{"a":[true,null,"x"],"b":1}`},
		{`{"\u20ac":1,"\r":2,"1":3,"\ud83d\ude00":4,"\ufb33":5}`, "{\"\\r\":2,\"1\":3,\"\u20ac\":1,\"\U0001f600\":4,\"\ufb33\":5}"}, // RFC 8785, section 3.2.3
		{`"\u0000\b\t\n\f\r\"\\/\u001f\u007f"`, "\"\\u0000\\b\\t\\n\\f\\r\\\"\\\\/\\u001f\u007f\""},
	} {
		got, err := Append([]byte("before "), decoded(c.text))
		if err != nil || string(got) != "before "+c.want {
			t.Errorf("%s is %s, %v; want %s", c.text, got, err, c.want)
		}
	}
}

func TestRefuses(t *testing.T) {
	for _, v := range []any{decoded(`1.5`), decoded(`[1e3]`), decoded(`{"a":-0.1}`), 7, struct{}{}, []any{1.5}} {
		if got, err := Append(nil, v); err == nil {
			t.Errorf("%v is %s", v, got)
		}
	}
}

// FuzzAppend asks another implementation.
func FuzzAppend(f *testing.F) {
	f.Add(`{"b":1,"a":{"d":[1,2],"c":"\u00e9"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		v := decoded(text)
		got, err := Append(nil, v)
		if v == nil || err != nil {
			return
		}
		if again, err := Append(nil, decoded(string(got))); err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s again is %s, %v", got, again, err)
		}
		if strings.ContainsAny(text, "0123456789") {
			return // it knows no integers but those that a float64 holds
		}
		plain, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := jcs.Transform(plain); err == nil && !bytes.Equal(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
