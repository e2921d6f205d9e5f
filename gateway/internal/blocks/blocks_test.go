package blocks

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestBuffer: what comes out, by whatever way, is what went in, in its order.
func TestBuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Buffer
		var want []byte
		next := byte(0)
		out := func(got []byte) {
			if !bytes.HasPrefix(want, got) {
				t.Fatalf("%d other bytes came out than went in", len(got))
			}
			want = want[len(got):]
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			n := rapid.IntRange(0, 10_000).Draw(t, "bytes")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			default:
				p := make([]byte, n)
				for i := range p {
					p[i] = next
					next++
				}
				b.Put(p)
				want = append(want, p...)
			case 1:
				p := make([]byte, n)
				out(p[:b.Take(p)])
			case 2:
				var taken [2]*Block
				for _, piece := range taken[:b.Detach(taken[:])] {
					out(piece.Bytes())
					piece.Free()
				}
			case 3:
				b.Drop()
				want = nil
			}
			if b.Len() != len(want) {
				t.Fatalf("%d bytes are in it, want %d", b.Len(), len(want))
			}
			if empty := len(want) == 0; empty != (b.first == nil) || empty != (b.last == nil) {
				t.Fatalf("with %d bytes in it, it holds a block: %t", len(want), b.first != nil)
			}
		}
	})
}
