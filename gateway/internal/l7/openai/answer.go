package openai

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/sse"
)

// wholeAnswer is an answer that is one JSON text.
type wholeAnswer struct {
	teller
	reader reader
}

func newWhole(said inspect.Said, s *schema) *wholeAnswer {
	a := &wholeAnswer{teller: teller{said: said}}
	a.reader.begin(s, &a.said)
	return a
}

// Pass reads p, and gives it.
func (a *wholeAnswer) Pass(p []byte) ([]byte, error) {
	a.reader.write(p)
	return p, nil
}

// End tells of the text.
func (a *wholeAnswer) End() ([]byte, error) {
	if a.reader.end() {
		a.tell(&a.reader.found)
	}
	return nil, nil
}

// done is what stands for data at the end of a stream. Nobody reads any further.
const done = "[DONE]"

// streamed is an answer whose events are JSON texts.
type streamed struct {
	teller
	schema *schema
	parser sse.Parser
	reader reader
	begun  bool // the event has data
	done   bool
	behind bool            // the response is made in the background
	start  [len(done)]byte // of the event's data
	length int             // of start
}

func newStream(said inspect.Said, s *schema) *streamed {
	said.Tokens.Counted = 0
	a := &streamed{teller: teller{said: said}, schema: s}
	a.parser.Reset((*events)(a))
	return a
}

// Pass reads p, and gives it.
func (a *streamed) Pass(p []byte) ([]byte, error) {
	if !a.done {
		_, _ = a.parser.Write(p) // its handler has no errors
	}
	return p, nil
}

// End says nothing more: what is no whole event, nobody reads.
func (a *streamed) End() ([]byte, error) { return nil, nil }

// events is a streamed that is told of events, which is not for others to do.
type events streamed

var _ sse.Handler = (*events)(nil)

func (e *events) Data(piece []byte) error {
	if !e.begun {
		e.begun, e.length = true, 0
		e.reader.begin(e.schema, &e.said)
	}
	e.length += copy(e.start[e.length:], piece)
	e.reader.write(piece)
	return nil
}

// count takes the pieces that came for the least that the answer cost: but what is made
// in the background goes on without them.
func (e *events) count(f *found) {
	if e.behind = e.behind || f.behind; e.behind {
		e.said.Tokens.Counted = -1
		return
	}
	e.said.Tokens.Counted = e.said.Pieces
}

func (e *events) Block(b *sse.Block) error {
	if !e.begun || e.done {
		return nil
	}
	e.begun = false
	if string(e.start[:e.length]) == done {
		e.done = true
		return nil
	}
	if string(b.Name) == "error" {
		e.said.Failed = true
	}
	if e.reader.end() {
		f := &e.reader.found
		e.tell(f)
		e.said.Pieces += f.pieces
		e.count(f)
	}
	return nil
}
