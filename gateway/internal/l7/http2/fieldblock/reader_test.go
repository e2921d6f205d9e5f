package fieldblock

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func newReader() *Reader { return NewReader(l7.MaxHeadBytes, l7.MaxFields) }

// What Writer writes reads back the same.
func TestRoundTrip(t *testing.T) {
	var block bytes.Buffer
	w, r := NewWriter(&block), newReader()
	for _, room := range []l7.Fields{nil, make(l7.Fields, 0, 12), make(l7.Fields, 1, 2)} { // with the table empty, and filled
		asked := l7.RequestHead{Method: "POST", Authority: "h:1", Path: "/a?b", Fields: l7.Fields{{Name: "x-a", Value: "1"}, {Name: "te", Value: "trailers"}, {Name: "content-length", Value: "7"}}}
		got := Request{Head: l7.RequestHead{Fields: room}}
		read(t, r, &block, func() { w.Request(&asked, "https") })
		if refused := r.Request(&got, "https", false); refused != nil || !reflect.DeepEqual(got.Head, asked) || got.Length != 7 {
			t.Errorf("request = %+v, %v, want %+v", got, refused, asked)
		}
		answer := l7.ResponseHead{Status: 404, Fields: l7.Fields{{Name: "server", Value: "x"}}}
		read(t, r, &block, func() { w.Response(&answer, false) })
		if h, bad := r.Response(room); bad != "" || !reflect.DeepEqual(h, answer) {
			t.Errorf("response = %+v, %q, want %+v", h, bad, answer)
		}
		trailers := l7.Fields{{Name: "grpc-status", Value: "0"}}
		read(t, r, &block, func() { w.Trailers(append(l7.Fields{{Name: "keep-alive", Value: "1"}}, trailers...)) })
		if f, bad := r.Trailers(room); bad != "" || !reflect.DeepEqual(f, trailers) {
			t.Errorf("trailers = %+v, %q, want %+v", f, bad, trailers)
		}
	}
}

// read gives the reader what write writes, a byte at a time.
func read(t *testing.T, r *Reader, block *bytes.Buffer, write func()) {
	t.Helper()
	block.Reset()
	write()
	r.Reset()
	for i := range block.Len() {
		if err := r.Write(block.Bytes()[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// A peer's smaller table is kept to.
func TestResize(t *testing.T) {
	var block bytes.Buffer
	w, r := NewWriter(&block), newReader()
	w.Resize(0)
	read(t, r, &block, func() { w.Trailers(l7.Fields{{Name: "x", Value: "y"}}) })
	if block.Bytes()[0] != 0x20 || bytes.Contains(block.Bytes(), []byte{0x40}) {
		t.Errorf("block = %x, want a table of 0 and nothing indexed", block.Bytes())
	}
}

func TestBombs(t *testing.T) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	if err := enc.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 3000)}); err != nil {
		t.Fatal(err)
	}
	for name, tail := range map[string]string{
		"a byte for a field of 3,000": strings.Repeat("\xbe", 1000),
		"a field beyond all limits":   "\x40\x01x\x7f\xff\xff\x07",
	} {
		if err := newReader().Write(append(bytes.Clone(block.Bytes()), tail...)); !errors.Is(err, ErrBomb) {
			t.Errorf("%s: %v, want ErrBomb", name, err)
		}
	}
	r := newReader() // between the limits
	if err := r.Write(append(block.Bytes(), strings.Repeat("\xbe", 30)...)); err != nil {
		t.Fatal(err)
	}
	if refused := r.Request(new(Request), "http", true); refused == nil || refused.Status != 431 || refused.Reason != crossingv1.Reason_TOO_LARGE || len(r.fields) > l7.MaxHeadBytes/3000 {
		t.Errorf("refused = %+v, %d fields kept", refused, len(r.fields))
	}
}

// FuzzReader: whatever a block says, what is accepted is well formed and writes
// as what it reads.
func FuzzReader(f *testing.F) {
	var block bytes.Buffer
	w := NewWriter(&block)
	w.Request(&l7.RequestHead{Method: "GET", Authority: "h", Path: "/", Fields: l7.Fields{{Name: "cookie", Value: "a"}, {Name: "cookie", Value: "b"}}}, "http")
	f.Add(bytes.Clone(block.Bytes()))
	block.Reset()
	w.Response(&l7.ResponseHead{Status: 200}, false)
	f.Add(bytes.Clone(block.Bytes()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newReader()
		if r.Write(b) != nil || r.Close() != nil {
			return
		}
		var got Request
		if r.Request(&got, "http", false) == nil {
			if err := got.Head.Check(); err != nil {
				t.Errorf("a head that is not well formed: %v", err)
			}
			var block bytes.Buffer
			NewWriter(&block).Request(&got.Head, "http")
			again := newReader()
			if again.Write(block.Bytes()) != nil || again.Close() != nil || again.Request(new(Request), "http", false) != nil {
				t.Errorf("what was accepted is refused when it comes from here: %+v", got.Head)
			}
		}
		if h, bad := r.Response(nil); bad == "" && (h.Status < 100 || h.Status > 999) {
			t.Errorf("status %d", h.Status)
		}
		if f, bad := r.Trailers(nil); bad == "" && f.Check(0) != nil {
			t.Errorf("trailers that are not well formed: %v", f)
		}
	})
}
