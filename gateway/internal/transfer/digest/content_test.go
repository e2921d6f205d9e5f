package digest

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

func TestContentInAnyPieces(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	var c Content
	for _, n := range []int{0, 1, 63, 64, 65, 1 << 20} { // one after another, in the same memory
		for rest := content[:n]; len(rest) > 0; {
			k := min(len(rest), 1+rng.IntN(70_000))
			if m, err := c.Write(rest[:k]); m != k || err != nil {
				t.Fatalf("Write = %d, %v", m, err)
			}
			rest = rest[k:]
		}
		want := Sum{SHA256: sha256.Sum256(content[:n]), Bytes: int64(n)}
		want.Head.Take(content[:n])
		if got := c.Finish(); got != want {
			t.Errorf("%d bytes: %v, want %v", n, got, want)
		}
	}
}

func TestContentThatBrokeOff(t *testing.T) {
	var c Content
	c.Write([]byte("abc"))
	want := Sum{SHA256: sha256.Sum256([]byte("abc")), Bytes: 3, Partial: true}
	want.Head.Take([]byte("abc"))
	if got := c.BreakOff(); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := c.Finish(); got.Partial || got.Bytes != 0 {
		t.Errorf("the next one is %v, want an empty one", got)
	}
}

// Memory is the same for a gigabyte as for a byte: none, once it has begun.
func TestContentDoesNotAllocate(t *testing.T) {
	piece := bytes.Repeat([]byte{7}, 1<<20)
	var c Content
	c.Finish()
	if n := testing.AllocsPerRun(10, func() {
		for range 4 {
			c.Write(piece)
		}
		if c.Finish().Bytes != 4<<20 {
			t.Fatal("bytes are missing")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
