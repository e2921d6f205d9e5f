package http1

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Ready is said exactly when no byte more is needed.
func TestBodyReady(t *testing.T) {
	for length, raw := range map[int64]string{
		0: "", 5: "hello",
		Chunked: "5;x=y\r\nhello\r\n00A\r\n0123456789\r\n0\r\nx: y\r\nz: 1\r\n\r\n",
	} {
		for have := range len(raw) + 1 {
			br := bufio.NewReader(io.MultiReader(strings.NewReader(raw[:have]), strings.NewReader(raw[have:])))
			if have > 0 {
				br.Peek(1)
			}
			b := NewBody(br, length, &l7.Fields{})
			if got, want := b.Ready(), have == len(raw); got != want {
				t.Errorf("length %d, %q of %q has come: Ready() = %t, want %t", length, raw[:have], raw, got, want)
			}
			for p := make([]byte, 3); ; { // and so after each piece
				_, err := b.Read(p)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if have == len(raw) && !b.Ready() {
					t.Errorf("length %d, %d bytes left of all: not ready", length, br.Buffered())
				}
			}
			if !b.Ready() {
				t.Errorf("length %d: not ready at its end", length)
			}
		}
	}
}

// Content that ends with its connection is never known to be all.
func TestBodyUntilClose(t *testing.T) {
	br := bufio.NewReader(strings.NewReader("hello"))
	b := NewBody(br, UntilClose, &l7.Fields{})
	br.Peek(5)
	if b.Ready() {
		t.Error("ready before the connection's end")
	}
	if got, err := io.ReadAll(b); string(got) != "hello" || err != nil || !b.Done() {
		t.Errorf("read %q, %v, done %t", got, err, b.Done())
	}
}

// What is neither is not well formed, and reading it says so without waiting.
func TestBodyReadyOfWhatIsNone(t *testing.T) {
	for _, raw := range []string{"x\r\n", "5\r\nhelloxx0\r\n\r\n", "ffffffffffffffff\r\n", "7fffffffffffffff\r\nx"} {
		br := bufio.NewReader(strings.NewReader(raw))
		br.Peek(1)
		b := NewBody(br, Chunked, &l7.Fields{})
		if b.Ready() {
			if _, err := io.Copy(io.Discard, b); err == nil {
				t.Errorf("%q is read as content", raw)
			}
		}
	}
}
