package admission

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// names are what a manifest names that comes in pieces of that many bytes.
func names(content string, piece int) []Sum {
	m := newManifest()
	for p := range slices.Chunk([]byte(content), piece) {
		m.take(p)
	}
	return m.end()
}

func TestManifest(t *testing.T) {
	a, b := sum(1), sum(2)
	for name, c := range map[string]struct {
		content string
		want    []Sum
	}{
		"an image":               {fmt.Sprintf(`{"config":{"digest":"%v","size":2},"layers":[{"digest":"%v"}]}`, a, b), []Sum{a, b}},
		"an index":               {fmt.Sprintf(`{"manifests":[{"digest":"%v"},{"digest":"%v","platform":{}}]}`, a, b), []Sum{a, b}},
		"its subject":            {fmt.Sprintf(`{"subject":{"digest":"%v"},"layers":[{"digest":"%v"}]}`, a, b), []Sum{b}},
		"another algorithm":      {fmt.Sprintf(`{"layers":[{"digest":"sha512:00"},{"digest":"%v"}]}`, b), []Sum{b}},
		"upper case":             {`{"layers":[{"digest":"sha256:` + strings.Repeat("A", 64) + `"}]}`, nil},
		"no text":                {`{"layers":[{"digest":[1]}]}`, nil},
		"nothing":                {`{}`, nil},
		"two of them":            {fmt.Sprintf(`{"config":{"digest":"%v","digest":"%v"}}`, a, b), nil},
		"in another case":        {fmt.Sprintf(`{"Config":{"digest":"%v"},"layers":[{"digest":"%v"}]}`, a, b), nil},
		"no JSON":                {fmt.Sprintf(`{"config":{"digest":"%v"}}}`, a), nil},
		"cut":                    {fmt.Sprintf(`{"config":{"digest":"%v"}`, a), nil},
		"too many":               {`{"layers":[` + strings.Repeat(fmt.Sprintf(`{"digest":"%v"},`, a), maxNamed) + fmt.Sprintf(`{"digest":"%v"}]}`, a), nil},
		"too long":               {fmt.Sprintf(`{"config":{"digest":"%v"}}`, a) + strings.Repeat(" ", maxManifest), nil},
		"as long as it may":      {fmt.Sprintf(`{"config":{"digest":"%v"}}`, a) + strings.Repeat(" ", maxManifest-len(fmt.Sprintf(`{"config":{"digest":"%v"}}`, a))), []Sum{a}},
		"a digest where none is": {fmt.Sprintf(`{"annotations":{"digest":"%v"},"history":[{"layers":{"digest":"%v"}}]}`, a, b), nil},
	} {
		for _, piece := range []int{1, 7, 32 << 10} {
			if len(c.content) > 1<<20 && piece < 1<<10 {
				continue
			}
			if got := names(c.content, piece); !slices.Equal(got, c.want) {
				t.Errorf("%s, in pieces of %d: %v, want %v", name, piece, got, c.want)
			}
		}
	}
}

// FuzzManifest: what is named is in the document, wherever it is cut.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(`{"config":{"digest":"%v"},"layers":[{"digest":"%v"}]}`, sum(1), sum(2))), 3)
	f.Add([]byte(fmt.Sprintf(`{"manifests":[{"digest":"%v"}],"manifests":[]}`, sum(1))), 1)
	f.Fuzz(func(t *testing.T, content []byte, piece int) {
		piece = 1 + max(piece, 0)%64
		got := names(string(content), piece)
		if whole := names(string(content), len(content)+1); !slices.Equal(got, whole) {
			t.Fatalf("%v in pieces of %d, %v as a whole", got, piece, whole)
		}
		if len(got) > 0 && !json.Valid(content) {
			t.Fatal("what is no JSON names something")
		}
		for _, s := range got {
			if !bytes.Contains(content, []byte("sha256:")) && !bytes.Contains(content, []byte(`\u`)) {
				t.Fatalf("%v is nowhere in it", s)
			}
		}
	})
}
