package coding

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

var codings = []string{"gzip", "deflate", "br", "zstd"}

// flusher is a library's writer.
type flusher interface {
	io.WriteCloser
	Flush() error
}

func encoder(coding string, to io.Writer) flusher {
	switch coding {
	case "gzip":
		return gzip.NewWriter(to)
	case "deflate":
		return zlib.NewWriter(to)
	case "br":
		return brotli.NewWriterLevel(to, 5)
	default:
		w, _ := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		return w
	}
}

// encode writes pieces, each of which is flushed.
func encode(coding string, pieces ...string) []byte {
	var b bytes.Buffer
	w := encoder(coding, &b)
	for i, p := range pieces {
		io.WriteString(w, p)
		if i+1 < len(pieces) {
			w.Flush()
		}
	}
	w.Close()
	return b.Bytes()
}

// library begins to read a content with the coding's library.
func library(coding string, in io.Reader) (io.Reader, error) {
	switch coding {
	case "gzip":
		return gzip.NewReader(in)
	case "deflate":
		return zlib.NewReader(in)
	case "br":
		return brotli.NewReader(in), nil
	default:
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(MaxWindow))
	}
}

// decode gives a content in pieces of the lengths that cut says.
func decode(coding string, content []byte, most int64, cut func() int) (string, error) {
	var out strings.Builder
	d, err := New(coding, &out, most)
	if err != nil {
		return "", err
	}
	defer d.Close()
	for len(content) > 0 {
		n := min(cut(), len(content))
		if _, err := d.Write(content[:n]); err != nil {
			return out.String(), err
		}
		content = content[n:]
	}
	return out.String(), d.End()
}

func whole() int    { return 1 << 30 }
func bytewise() int { return 1 }

// text is some JSON of so many bytes that does not repeat itself too much.
func text(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, `{"type":"content_block_delta","index":%d,"delta":{"text":"%x"}},`, r.IntN(9), r.Uint32())
	}
	return b.String()[:n]
}

// leaks fails a test that leaves goroutines behind.
func leaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		if after := runtime.NumGoroutine(); after > before {
			t.Errorf("%d goroutines are left", after-before)
		}
	})
}

func TestDecode(t *testing.T) {
	leaks(t)
	for _, coding := range codings {
		for _, n := range []int{0, 1, 100, 5000, 200_000} {
			want := text(n)
			content := encode(coding, want)
			for name, cut := range map[string]func() int{"whole": whole, "bytewise": bytewise, "random": func() int { return 1 + rand.IntN(700) }} {
				got, err := decode(coding, content, 1<<20, cut)
				if err != nil || got != want {
					t.Errorf("%s of %d, %s: %d bytes, %v", coding, n, name, len(got), err)
				}
			}
		}
	}
}

// TestPrompt: what was flushed is handed on in the call that brings it, and nothing
// waits for what comes later.
func TestPrompt(t *testing.T) {
	leaks(t)
	for _, coding := range codings {
		var encoded, out bytes.Buffer
		w := encoder(coding, &encoded)
		d, err := New(coding, &out, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			event := fmt.Sprintf("data: {\"n\":%d}\n\n", i)
			io.WriteString(w, event)
			w.Flush()
			if _, err := d.Write(encoded.Bytes()); err != nil {
				t.Fatalf("%s: %v", coding, err)
			}
			encoded.Reset()
			if got := out.String(); got != event {
				t.Fatalf("%s: %q, want %q", coding, got, event)
			}
			out.Reset()
		}
		w.Close()
		d.Write(encoded.Bytes())
		if err := d.End(); err != nil {
			t.Errorf("%s: %v", coding, err)
		}
	}
}

// TestTruncated: a content that was cut anywhere is not whole.
func TestTruncated(t *testing.T) {
	leaks(t)
	for _, coding := range codings {
		content := encode(coding, text(300), text(200))
		for n := range content {
			for _, cut := range []func() int{whole, bytewise} {
				if _, err := decode(coding, content[:n], 1<<20, cut); !errors.Is(err, ErrTruncated) {
					t.Errorf("%s, %d of %d bytes: %v", coding, n, len(content), err)
				}
			}
		}
	}
}

func TestTrailing(t *testing.T) {
	leaks(t)
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}
	for _, coding := range codings {
		content := encode(coding, text(300))
		for name, more := range map[string][]byte{"a byte": {0}, "text": []byte("{}"), "another": content, "skippable": skippable} {
			for _, cut := range []func() int{whole, bytewise, func() int { return len(content) }} {
				if got, err := decode(coding, bytes.Join([][]byte{content, more}, nil), 1<<20, cut); !errors.Is(err, ErrTrailing) && !(coding == "br" && errors.Is(err, ErrMalformed)) || got != text(300) {
					t.Errorf("%s and %s: %d bytes, %v", coding, name, len(got), err)
				}
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	leaks(t)
	var raw bytes.Buffer
	w, _ := flate.NewWriter(&raw, 6)
	io.WriteString(w, text(100))
	w.Close()
	broken := func(coding string, at int) []byte {
		b := encode(coding, text(300))
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x55
		return b
	}
	dictionary := broken("zstd", 0)
	copy(dictionary, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x50, 7})
	for _, tt := range []struct {
		coding, name string
		content      []byte
	}{
		{"gzip", "no gzip", []byte("{\"model\":\"m\"}")},
		{"gzip", "checksum", broken("gzip", -5)},
		{"gzip", "length", broken("gzip", -1)},
		{"gzip", "reserved flags", append([]byte{0x1f, 0x8b, 8, 0x80}, encode("gzip", "x")[4:]...)},
		{"deflate", "without zlib's frame", raw.Bytes()},
		{"deflate", "checksum", broken("deflate", -1)},
		{"br", "no br", bytes.Repeat([]byte{0xff}, 40)},
		{"zstd", "no zstd", []byte("{\"model\":\"m\"}")},
		{"zstd", "checksum", broken("zstd", -1)},
		{"zstd", "a skippable frame first", append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, encode("zstd", "x")...)},
		{"zstd", "a dictionary", dictionary},
	} {
		for _, cut := range []func() int{whole, bytewise} {
			if _, err := decode(tt.coding, tt.content, 1<<20, cut); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s, %s: %v", tt.coding, tt.name, err)
			}
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, coding := range []string{"gzip, br", "gzip,gzip", "identity, gzip", "compress", "snappy", "gzip;q=1", strings.Repeat("x", 1000)} {
		if d, err := New(coding, io.Discard, 1); !errors.Is(err, ErrUnknown) || d != nil || len(err.Error()) > 100 {
			t.Errorf("%.20s: %v", coding, err)
		}
	}
	for _, coding := range []string{"", "identity", " Identity "} {
		if d, err := New(coding, io.Discard, 1); err != nil || d != nil {
			t.Errorf("%q: %v, %v", coding, d, err)
		}
	}
	for _, coding := range []string{"GZip", "x-gzip", " gzip\t"} {
		if got, err := decode(coding, encode("gzip", "x"), 1<<20, whole); err != nil || got != "x" {
			t.Errorf("%q: %q, %v", coding, got, err)
		}
	}
}

func TestOf(t *testing.T) {
	if got := Of(l7.Fields{{Name: "content-encoding", Value: "gzip"}, {Name: "x", Value: "y"}, {Name: "content-encoding", Value: "br"}}); got != "gzip, br" {
		t.Errorf("of two fields: %q", got)
	}
	if got := Of(l7.Fields{{Name: "content-type", Value: "x"}}); got != "" {
		t.Errorf("of none: %q", got)
	}
}

func TestTooLong(t *testing.T) {
	leaks(t)
	for _, coding := range codings {
		content := encode(coding, text(9000))
		for most, want := range map[int64]error{8999: ErrTooLong, 9000: nil, 0: ErrTooLong} {
			var out bytes.Buffer
			d, _ := New(coding, &out, most)
			d.Write(content)
			if err := d.End(); !errors.Is(err, want) || int64(out.Len()) > most {
				t.Errorf("%s, at most %d: %v after %d bytes", coding, most, err, out.Len())
			}
			d.Close()
		}
	}
}

// TestBomb: a content that grows out of proportion is refused long before the bound
// on its length.
func TestBomb(t *testing.T) {
	leaks(t)
	for _, coding := range codings {
		content := encode(coding, strings.Repeat("\x00", 20<<20))
		for _, cut := range []func() int{whole, func() int { return 1000 }} {
			var out size
			d, _ := New(coding, &out, 1<<40)
			var err error
			for rest := content; len(rest) > 0 && err == nil; {
				n := min(cut(), len(rest))
				_, err = d.Write(rest[:n])
				rest = rest[n:]
			}
			if d.Close(); !errors.Is(err, ErrBomb) || out > 10<<20 {
				t.Errorf("%s of %d bytes: %v after %d", coding, len(content), err, out)
			}
		}
	}
}

type size int64

func (s *size) Write(p []byte) (int, error) { *s += size(len(p)); return len(p), nil }

func TestWindow(t *testing.T) {
	leaks(t)
	for window, want := range map[int]error{8 << 20: nil, 16 << 20: ErrWindow} {
		var b bytes.Buffer
		w, _ := zstd.NewWriter(&b, zstd.WithWindowSize(window))
		io.WriteString(w, text(100))
		w.Flush() // so that the size is not known, and the window is written
		w.Close()
		if _, err := decode("zstd", b.Bytes(), 1<<20, whole); !errors.Is(err, want) {
			t.Errorf("a window of %d: %v", window, err)
		}
	}
}

// TestClose: wherever a decoder is left, nothing of it stays.
func TestClose(t *testing.T) {
	leaks(t)
	for _, coding := range codings {
		content := encode(coding, text(3000), text(500))
		for n := 0; n <= len(content); n += 17 {
			d, _ := New(coding, io.Discard, 1<<20)
			d.Write(content[:n])
			d.Close()
			d.Close()
			if _, err := d.Write(content); !errors.Is(err, ErrClosed) {
				t.Errorf("%s written to after Close: %v", coding, err)
			}
			if err := d.End(); !errors.Is(err, ErrClosed) {
				t.Errorf("%s ended after Close: %v", coding, err)
			}
		}
	}
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }

// TestWriterFails: what the writer says is what Write says, from then on.
func TestWriterFails(t *testing.T) {
	leaks(t)
	for _, coding := range codings {
		for _, want := range []error{errors.New("no"), io.ErrUnexpectedEOF, io.EOF} {
			d, _ := New(coding, failing{want}, 1<<20)
			d.Write(encode(coding, text(100)))
			if err := d.End(); !errors.Is(err, want) || errors.Is(err, ErrTruncated) {
				t.Errorf("%s: %v, want %v", coding, err, want)
			}
			d.Close()
		}
	}
}

type panics struct{}

func (panics) Read([]byte) (int, error) { panic("no") }

// TestPanic: a library's panic is a fault of the content; the writer's is its own.
func TestPanic(t *testing.T) {
	leaks(t)
	var d Decoder
	for name, open := range map[string]open{
		"at the start": func(*source) (io.Reader, error) { panic("no") },
		"later":        func(*source) (io.Reader, error) { return panics{}, nil },
	} {
		if err := d.decode(open); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("the writer's panic is gone")
		}
	}()
	ours, _ := New("gzip", panicking{}, 1<<20)
	ours.Write(encode("gzip", "x"))
}

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("mine") }
