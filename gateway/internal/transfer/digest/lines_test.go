package digest

import (
	"slices"
	"testing"
)

// TestLines: however a text is cut on its way, it has as many lines.
func TestLines(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "\n": 1, "a": 1, "a\n": 1, "a\nb": 2, "a\r\nb\r\n": 2, "\n\n\na": 4,
	} {
		for piece := range 3 {
			var c Content
			c.CountLines()
			for p := range slices.Chunk([]byte(text), piece+1) {
				c.Write(p)
			}
			if got := c.Finish().Lines; got != want {
				t.Errorf("%q, in pieces of %d: %d lines, want %d", text, piece+1, got, want)
			}
			c.Write([]byte(text)) // of another
			if got := c.Finish().Lines; got != 0 {
				t.Errorf("%d lines that nobody asked for", got)
			}
		}
	}
}
