package sse

import (
	"bytes"
	"strings"
	"testing"
)

type counter struct{ pieces, bytes, events int }

func (c *counter) Data(piece []byte) error { c.pieces++; c.bytes += len(piece); return nil }

func (c *counter) Block(b *Block) error {
	if b.Event {
		c.events++
	}
	return nil
}

const token = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"

// How long an event takes: a token of a chat, alone and many in a piece; and how
// fast long ones stream by, and lines that are nothing but their ends.
func BenchmarkWrite(b *testing.B) {
	for _, bb := range []struct {
		name, stream string
	}{
		{"token", token},
		{"tokens", strings.Repeat(token, 200)},
		{"named", "event: response.output_text.delta\r\n" + strings.ReplaceAll(token, "\n", "\r\n")},
		{"image", "data: " + strings.Repeat("iVBORw0KGgo", 3000) + "\n\n"},
		{"line ends", strings.Repeat("\r", 32<<10)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var c counter
			p, stream := New(&c), []byte(bb.stream)
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				p.Write(stream)
			}
			if c.events > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(c.events), "ns/event")
			}
		})
	}
}

func TestEventsDoNotAllocate(t *testing.T) {
	var c counter
	p, stream := New(&c), []byte("event: delta\n"+token)
	p.Write(stream) // makes the buffer
	if n := testing.AllocsPerRun(100, func() { p.Write(stream) }); n != 0 {
		t.Errorf("an event allocates %v times", n)
	}
}

// A line is never held, however long, and whether or not it is data.
func TestLongLinesAreNotHeld(t *testing.T) {
	var c counter
	p, piece := New(&c), bytes.Repeat([]byte("x"), 1<<20)
	for _, field := range []string{"data: ", ": ", "event: ", "id: ", ""} {
		p.Write([]byte(field))
		if n := testing.AllocsPerRun(20, func() { p.Write(piece) }); n != 0 {
			t.Errorf("a line of %q allocates %v times", field, n)
		}
		p.Write([]byte("\n"))
	}
	if c.bytes < 20<<20 {
		t.Errorf("%d bytes of data were told", c.bytes)
	}
	if n := cap(p.block.Name); n > 2*MaxName {
		t.Errorf("a name holds %d bytes", n)
	}
}
