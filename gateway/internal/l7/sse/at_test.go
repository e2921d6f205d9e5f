package sse

import "testing"

// placer holds each piece of data against what stands at the place that it is said
// to be at.
type placer struct {
	t      *testing.T
	stream string
	parser Parser
}

func (p *placer) Data(piece []byte) error {
	if string(piece) == "\n" {
		return nil
	}
	at := p.parser.At()
	if got := p.stream[at : at+int64(len(piece))]; got != string(piece) {
		p.t.Errorf("%q: at %d there is %q, not %q", p.stream, at, got, piece)
	}
	return nil
}

func (p *placer) Block(*Block) error { return nil }

func TestAt(t *testing.T) {
	const stream = "\ufeffdata: ab\nevent: x\r\ndata:cd\rdata\ndata:  e:f\r\n\r\n: g\n\ndata: hi\n\n"
	for size := 1; size <= len(stream); size++ {
		p := &placer{t: t, stream: stream}
		p.parser.Reset(p)
		for i := 0; i < len(stream); i += size {
			p.parser.Write([]byte(stream[i:min(i+size, len(stream))]))
		}
	}
}
