package sse

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// naive reads a whole stream, line by line, as the specification tells it. Places
// and line ends it does not know.
func naive(stream string) []told {
	stream = strings.TrimPrefix(stream, mark)
	stream = strings.ReplaceAll(stream, "\r\n", "\n")
	stream = strings.ReplaceAll(stream, "\r", "\n")
	lines := strings.Split(stream, "\n")
	var blocks []told
	var b told
	var buffer string
	for _, line := range lines[:len(lines)-1] { // the last has no end
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			b.Event = buffer != ""
			b.Data = strings.TrimSuffix(buffer, "\n")
			blocks = append(blocks, b)
			b, buffer = told{}, ""
		case name == "event":
			b.Name = value[:min(len(value), MaxName)]
		case name == "data":
			buffer += value + "\n"
		}
	}
	return blocks
}

// compare holds what a parser tells of a stream against what a naive reader finds,
// and against what it tells of it in pieces.
func compare(t *testing.T, stream string, at []byte) {
	t.Helper()
	whole := read(t, stream)
	if diff := cmp.Diff(whole, read(t, stream, at...)); diff != "" {
		t.Errorf("%q split at %v (-whole +split):\n%s", stream, at, diff)
	}
	to := int64(0)
	for i := range whole {
		b := &whole[i]
		if b.From != to && !(b.From == to+1 && stream[to-1:b.From] == "\r\n") || b.To <= b.From {
			t.Errorf("%q: a block from %d to %d is behind one to %d", stream, b.From, b.To, to)
		}
		if strings.Contains(strings.ReplaceAll(stream[b.From:b.To-1], "\r\n", ""), "\r") && !b.BareCR {
			t.Errorf("%q: the block from %d to %d is said to have no CR alone", stream, b.From, b.To)
		}
		to = b.To
		b.From, b.To, b.BareCR = 0, 0, false
	}
	if diff := cmp.Diff(naive(stream), whole); diff != "" {
		t.Errorf("%q (-naive +parser):\n%s", stream, diff)
	}
}

func FuzzParser(f *testing.F) {
	for _, stream := range []string{
		"data: {\"a\":1}\n\ndata: [DONE]\n\n", "event: ping\r\ndata: a\r\ndata: b\r\n\r\n: c\r\r", "\ufeffdata\n\nid: 1\nretry: 2\ndata:\n\n", "data:  x\nevent\n\n\n",
	} {
		f.Add(stream, []byte{1, 3, 0, 7})
	}
	f.Fuzz(compare)
}

func TestRandomStreams(t *testing.T) {
	pieces := []string{"\n", "\n", "\r\n", "\r", "data", "data: ", "event", "event:", "id: 1", ":", " ", "x", mark, "\xef", "\n\n"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		var b strings.Builder
		for range r.IntN(30) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		at := make([]byte, r.IntN(40))
		for i := range at {
			at[i] = byte(r.IntN(9))
		}
		compare(t, b.String(), at)
	}
}
