package fieldblock

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// What is a secret, or comes once, is in no table.
func TestPassingFields(t *testing.T) {
	var block bytes.Buffer
	w := NewWriter(&block)
	f := l7.Fields{{Name: "authorization", Value: "x"}, {Name: "cookie", Value: "x"}, {Name: "traceparent", Value: "x"}, {Name: "content-type", Value: "x"}}
	w.Trailers(f)
	var got []string
	dec := hpack.NewDecoder(TableSize, func(f hpack.HeaderField) {
		if f.Sensitive {
			got = append(got, f.Name)
		}
	})
	if _, err := dec.Write(block.Bytes()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"authorization", "cookie", "traceparent"}; !slices.Equal(got, want) {
		t.Errorf("never indexed: %q, want %q", got, want)
	}
	block.Reset()
	w.Trailers(f)
	if b := block.Bytes(); b[len(b)-1] != 0xbe {
		t.Errorf("content-type is %#x the second time, want the table's first", b[len(b)-1])
	}
}
