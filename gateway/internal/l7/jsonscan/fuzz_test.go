package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var fuzzed = MustCompile("", "/model", "/params/name", "/params/_meta/v", "/tools/*/name", "/id", "/params/{}", "/{}/{}/v")

// reader reads a document with encoding/json's tokens, and says what a scanner
// of fuzzed must find in it.
type reader struct {
	dec    *json.Decoder
	events []event
	odd    bool // it has what a scanner must call ambiguous
	maybe  bool // it has U+FFFD, which may stand for half a pair
}

func read(doc []byte) *reader {
	r := &reader{dec: json.NewDecoder(bytes.NewReader(doc))}
	r.dec.UseNumber()
	r.value(&fuzzed.root)
	return r
}

func (r *reader) value(n *node) {
	token, err := r.dec.Token()
	if err != nil {
		panic(err) // json.Valid said that it is well formed
	}
	kind, text := Null, ""
	switch v := token.(type) {
	case bool:
		kind = False
		if v {
			kind = True
		}
	case json.Number:
		kind, text = Number, v.String()
	case string:
		kind, text = String, v
		r.suspect(v, n != nil && n.path >= 0)
	case json.Delim:
		kind = Array
		if v == '{' {
			kind = Object
		}
	}
	if n != nil && n.path >= 0 {
		r.events = append(r.events, event{n.path, kind, text})
	}
	switch kind {
	case Object:
		r.members(n)
	case Array:
		for r.dec.More() {
			var each *node
			if n != nil {
				each = n.each
			}
			r.value(each)
		}
		r.dec.Token()
	}
}

func (r *reader) members(n *node) {
	met := map[string]bool{}
	for r.dec.More() {
		token, _ := r.dec.Token()
		key := token.(string)
		var member *node
		if n != nil {
			member = n.any
		}
		if n != nil && n.members != nil {
			r.suspect(key, true)
			for _, m := range n.members {
				if strings.EqualFold(string(m.key), key) {
					r.odd = r.odd || string(m.key) != key || met[key]
					member = m
				}
			}
			met[key] = true
		}
		r.value(member)
	}
	r.dec.Token()
}

func (r *reader) suspect(s string, asked bool) {
	if asked {
		r.odd = r.odd || strings.Contains(s, "\x00")
		r.maybe = r.maybe || strings.Contains(s, "\ufffd")
	}
}

// compare holds a scanner's account of a document against encoding/json's.
func compare(t *testing.T, doc []byte) {
	t.Helper()
	got, err := scan(fuzzed, bytes.NewReader(doc))
	valid := json.Valid(doc) && utf8.Valid(doc)
	switch {
	case errors.Is(err, ErrLimit):
		if len(doc) < MaxDepth {
			t.Errorf("%q: %v", doc, err)
		}
		return
	case errors.Is(err, ErrSyntax):
		if valid {
			t.Errorf("%q: %v, but it is well formed", doc, err)
		}
		return
	case errors.Is(err, ErrAmbiguous) && !valid:
		return // it was refused before the fault in the syntax
	case !valid:
		t.Fatalf("%q is not well formed, and was accepted (%v)", doc, err)
	}
	want := read(doc)
	if ambiguous := err != nil; ambiguous != want.odd && !(ambiguous && want.maybe) {
		t.Fatalf("%q: %v, want it ambiguous: %v", doc, err, want.odd)
	}
	if err == nil {
		if diff := cmp.Diff(want.events, got); diff != "" {
			t.Errorf("%q (-encoding/json +scanner):\n%s", doc, diff)
		}
	}
}

// split writes a document in pieces that end where the bytes of at say.
func split(doc, at []byte) ([]event, error) {
	var e events
	s := New(fuzzed, &e)
	for i := 0; len(doc) > 0; i++ {
		n := len(doc)
		if i < len(at) {
			n = min(n, int(at[i])%9)
		}
		if _, err := s.Write(doc[:n]); err != nil {
			return e.all, err
		}
		doc = doc[n:]
	}
	return e.all, s.End()
}

func compareSplit(t *testing.T, doc, at []byte) {
	t.Helper()
	want, wantErr := scan(fuzzed, bytes.NewReader(doc))
	got, err := split(doc, at)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q split at %v (-whole +split):\n%s", doc, at, diff)
	}
	if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
		t.Errorf("%q split at %v: %v, want %v", doc, at, err, wantErr)
	}
}

func FuzzScanner(f *testing.F) {
	for _, doc := range []string{
		`{"model":"m","params":{"name":"n","_meta":{"v":"2026-07-28"}},"tools":[{"name":"t"}],"id":1}`,
		`{"model":"a","Model":"b"}`, `{"mod\u0065l":"\ud83d\ude00"}`, `{"model":"\ud83d"}`, `[1e5,-0.1,true,false,null,"é"]`,
		`{"params":{"name":"a","n\u0061me":"b"}}`, `{"params":{},"params":{}}`, `"\u0000"`, "\"\xff\"", `{"tools":[[],{"name":{}},{"name":1,"name":2}]}`,
	} {
		f.Add([]byte(doc), []byte{1, 3, 0, 7})
	}
	f.Fuzz(func(t *testing.T, doc, at []byte) {
		compare(t, doc)
		compareSplit(t, doc, at)
	})
}

// pieces of documents, well formed and not, that a random one is made of.
var pieces = []string{
	"{", "}", "[", "]", ",", ":", " ", `"model"`, `"mod\u0065l"`, `"Model"`, `"params"`, `"name"`, `"_meta"`, `"v"`, `"tools"`, `"id"`, `"x"`,
	`"é😀"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\u0000"`, "\"\xff\"", "1", "-0", "1.5e3", "1.", "true", "false", "null", "nul",
}

// member is a random member or value, most of the time well formed.
func random(r *rand.Rand, w io.StringWriter, depth int) {
	if r.IntN(200) == 0 {
		w.WriteString(pieces[r.IntN(len(pieces))])
	}
	switch k := r.IntN(10); {
	case k < 4 && depth > 0:
		w.WriteString("{")
		for i := range r.IntN(5) {
			if i > 0 {
				w.WriteString(", ")
			}
			w.WriteString(pieces[7+r.IntN(12)])
			w.WriteString(" :")
			random(r, w, depth-1)
		}
		w.WriteString("}")
	case k < 6 && depth > 0:
		w.WriteString("[")
		for i := range r.IntN(4) {
			if i > 0 {
				w.WriteString(",")
			}
			random(r, w, depth-1)
		}
		w.WriteString("]")
	default:
		w.WriteString(pieces[17+r.IntN(12)])
	}
}

func TestRandomDocuments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	const documents = 20_000
	for range documents {
		var b strings.Builder
		random(r, &b, 5)
		doc, at := []byte(b.String()), make([]byte, r.IntN(40))
		for i := range at {
			at[i] = byte(r.IntN(256))
		}
		compare(t, doc)
		compareSplit(t, doc, at)
		if _, err := split(doc, at); err != nil {
			refused++
		}
	}
	if refused < documents/20 || refused > documents*19/20 {
		t.Errorf("%d of %d documents were refused: the test looks at one side only", refused, documents)
	}
}
