package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

func TestBody(t *testing.T) {
	for _, tt := range []struct {
		name     string
		length   int64
		raw      string
		want     string
		trailers l7.Fields
	}{
		{"none", 0, "", "", nil},
		{"counted", 5, "hello", "hello", nil},
		{"chunked", Chunked, "5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n", "hello0123456789", nil},
		{"extensions are dropped", Chunked, "1;a=b;c=\"d\"\r\nx\r\n0;e\r\n\r\n", "x", nil},
		{"content that looks like chunks", Chunked, "7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n\r\n", nil},
		{"trailers", Chunked, "0\r\nX-Sum: 1\r\nauthorization: x\r\nsallyport_x: y\r\nx-sum: 2\r\n\r\n", "", l7.Fields{{Name: "x-sum", Value: "1"}, {Name: "x-sum", Value: "2"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const next = "GET /next"
			br := bufio.NewReader(iotest.OneByteReader(strings.NewReader(tt.raw + next)))
			var trailers l7.Fields
			b := NewBody(br, tt.length, &trailers)
			got, err := io.ReadAll(iotest.OneByteReader(b))
			if err != nil || string(got) != tt.want {
				t.Errorf("read %q and %v, want %q", got, err, tt.want)
			}
			if !b.Done() {
				t.Error("not done at the end")
			}
			if diff := cmp.Diff(tt.trailers, trailers, cmp.Transformer("empty", func(f l7.Fields) string { return fmt.Sprint(f) })); diff != "" {
				t.Errorf("trailers (-want +got):\n%s", diff)
			}
			if rest, _ := io.ReadAll(br); string(rest) != next {
				t.Errorf("left to read: %q, want %q", rest, next)
			}
		})
	}
}

func TestBodyRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		raw    string
		status int
	}{
		{"bare LF after a size", "5\nhello\r\n0\r\n\r\n", 400},
		{"bare LF after a chunk", "5\r\nhello\n0\r\n\r\n", 400},
		{"chunk longer than its size", "4\r\nhello\r\n0\r\n\r\n", 400},
		{"no size", "\r\n", 400},
		{"not hex", "g\r\n", 400},
		{"0x", "0x5\r\nhello\r\n", 400},
		{"sign", "+5\r\nhello\r\n", 400},
		{"negative", "-5\r\n", 400},
		{"space after a size", "5 \r\nhello\r\n", 400},
		{"space before a size", " 5\r\nhello\r\n", 400},
		{"17 digits", "00000000000000005\r\nhello\r\n", 400},
		{"64 bits", "8000000000000000\r\n", 400},
		{"CR in an extension", "5;a\rb\r\nhello\r\n", 400},
		{"NUL in an extension", "5;a\x00\r\nhello\r\n", 400},
		{"long extension", "5;" + strings.Repeat("a", maxChunkLine) + "\r\nhello\r\n", 413},
		{"many extensions", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 17), 413},
		{"bare LF after the last chunk", "0\r\n\n", 400},
		{"bare LF in trailers", "0\r\nx: y\n\r\n", 400},
		{"folded trailer", "0\r\nx: y\r\n z\r\n\r\n", 400},
		{"length as a trailer", "0\r\nContent-Length: 5\r\n\r\n", 400},
		{"coding as a trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"host as a trailer", "0\r\nHost: h\r\n\r\n", 400},
		{"many trailers", "0\r\n" + strings.Repeat("x: y\r\n", maxTrailerRows+1) + "\r\n", 431},
		{"long trailers", "0\r\n" + strings.Repeat("x: "+strings.Repeat("y", 4000)+"\r\n", 5) + "\r\n", 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBody(bufio.NewReader(strings.NewReader(tt.raw)), Chunked, &l7.Fields{})
			_, err := io.Copy(io.Discard, b)
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != tt.status {
				t.Fatalf("read = %v, want status %d", err, tt.status)
			}
			if _, again := b.Read(make([]byte, 1)); !errors.Is(again, err) || b.Done() {
				t.Errorf("read again = %v, done %v; the refusal must stay", again, b.Done())
			}
		})
	}
}

func TestBodyCutOff(t *testing.T) {
	for length, raw := range map[int64]string{5: "hello", Chunked: "5\r\nhello\r\n0\r\nx: y\r\n\r\n"} {
		for n := range len(raw) {
			b := NewBody(bufio.NewReader(strings.NewReader(raw[:n])), length, &l7.Fields{})
			if _, err := io.Copy(io.Discard, b); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q cut off after %d bytes: %v, want %v", raw, n, err, io.ErrUnexpectedEOF)
			}
		}
	}
}

// An interrupted read loses nothing: it is tried again and goes on.
func TestBodyGoesOnAfterTimeout(t *testing.T) {
	raw := "5\r\nhello\r\n6\r\n world\r\n0\r\n"
	for n := range len(raw) - 3 {
		r := io.MultiReader(strings.NewReader(raw[:n]), &failOnce{}, strings.NewReader(raw[n:]+"\r\n"))
		b := NewBody(bufio.NewReader(r), Chunked, &l7.Fields{})
		first, err := io.ReadAll(b)
		if !errors.Is(err, errOnce) {
			t.Fatalf("interrupted after %d: %v", n, err)
		}
		second, err := io.ReadAll(b)
		if got := string(first) + string(second); got != "hello world" || err != nil {
			t.Errorf("interrupted after %d: read %q and %v", n, got, err)
		}
	}
}

var errOnce = errors.New("interrupted")

type failOnce struct{ failed bool }

func (f *failOnce) Read([]byte) (int, error) {
	if f.failed {
		return 0, io.EOF
	}
	f.failed = true
	return 0, errOnce
}

// What is accepted as chunked, net/http reads as the same content, and leaves
// the same bytes for the next request.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "1;a=b\r\nx\r\n0\r\nx: y\r\n\r\nGET", "0\r\n\r\n", "5\nhello\r\n0\r\n\r\n",
		"7fffffffffffffff\r\n", "00000000000000001\r\nx\r\n0\r\n\r\n", "1\r\nxx\r\n", "0\r\nHost: h\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		br := bufio.NewReader(bytes.NewReader(raw))
		var trailers l7.Fields
		b := NewBody(br, Chunked, &trailers)
		br.Peek(len(raw))
		ready := b.Ready()
		got, err := io.ReadAll(b)
		if ready && errors.Is(err, io.ErrUnexpectedEOF) || !ready && err == nil && len(raw) <= br.Size() {
			t.Errorf("ready: %t, and it reads as %v", ready, err)
		}
		if err != nil {
			return
		}
		theirs := bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(raw)))
		r, err := http.ReadRequest(theirs)
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %q, net/http %q and %v", got, want, err)
		}
		rest, _ := io.ReadAll(br)
		if theirRest, _ := io.ReadAll(theirs); !bytes.Equal(rest, theirRest) {
			t.Errorf("left %q, net/http %q", rest, theirRest)
		}
		for _, f := range trailers {
			if len(r.Trailer.Values(f.Name)) == 0 {
				t.Errorf("trailer %q, net/http has %v", f.Name, r.Trailer)
			}
		}
	})
}
