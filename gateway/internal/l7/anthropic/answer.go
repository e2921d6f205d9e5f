package anthropic

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/sse"
)

// teller gathers what the JSON texts of an answer say.
type teller struct {
	said   inspect.Said
	counts counts
	reader reader
}

// Said is what was found so far.
func (t *teller) Said() *inspect.Said { return &t.said }

// tell takes what one text says.
func (t *teller) tell(f *found) {
	s := &t.said
	for _, text := range [...]struct {
		at    *string
		found string
	}{{&s.ID, f.id}, {&s.Model, f.model}, {&s.Finish, f.finish}} {
		if text.found != "" {
			*text.at = text.found
		}
	}
	if s.Failed = s.Failed || f.kind == errorText; s.Failed && f.fault != "" {
		s.Fault = f.fault
	}
	t.counts.update(f.counts)
	t.counts.tell(&s.Tokens)
}

// whole is an answer that is one JSON text.
type whole struct{ teller }

func newWhole(said inspect.Said) *whole {
	w := &whole{teller{said: said, counts: unknown}}
	w.reader.begin(wholes, &w.said)
	return w
}

// Pass reads p, and gives it.
func (w *whole) Pass(p []byte) ([]byte, error) {
	w.reader.write(p)
	return p, nil
}

// End tells of the text.
func (w *whole) End() ([]byte, error) {
	if w.reader.end() {
		w.tell(&w.reader.found)
	}
	return nil, nil
}

// streamed is an answer whose events are JSON texts. SDKs leave out those that have
// no name.
type streamed struct {
	teller
	parser sse.Parser
	begun  bool // the event has data
}

func newStreamed(said inspect.Said) *streamed {
	said.Tokens.Counted = 0
	s := &streamed{teller: teller{said: said, counts: unknown}}
	s.parser.Reset((*eventHandler)(s))
	return s
}

// Pass reads p, and gives it.
func (s *streamed) Pass(p []byte) ([]byte, error) {
	_, _ = s.parser.Write(p) // its handler has no errors
	return p, nil
}

// End says nothing more: what is no whole event, nobody reads.
func (s *streamed) End() ([]byte, error) { return nil, nil }

// eventHandler is a streamed that is told of events, which is not for others to do.
type eventHandler streamed

var _ sse.Handler = (*eventHandler)(nil)

func (h *eventHandler) Data(piece []byte) error {
	if !h.begun {
		h.begun = true
		h.reader.begin(events, &h.said)
	}
	h.reader.write(piece)
	return nil
}

func (h *eventHandler) Block(b *sse.Block) error {
	begun := h.begun
	h.begun = false
	if len(b.Name) == 0 || !b.Event || string(b.Name) == "ping" {
		return nil
	}
	name := kindOf(b.Name)
	if name == errorText {
		h.said.Failed = true
	}
	f := &h.reader.found
	if !begun || !h.reader.end() || f.kind != name {
		h.forget()
		return nil
	}
	h.event(f)
	return nil
}

// event takes what an event says that is of its kind.
func (h *eventHandler) event(f *found) {
	switch f.kind {
	case startText:
		f.start.output, f.start.reasoning = -1, -1 // of an answer that has only begun
		h.tell(&found{id: f.id, model: f.model, counts: f.start})
	case deltaText:
		h.tell(&found{finish: f.finish, counts: f.counts})
	case blockText:
		h.tell(&found{model: f.model, counts: unknown})
	case errorText:
		h.tell(&found{kind: errorText, fault: f.fault, counts: unknown})
	case pieceText:
		if f.piece {
			h.said.Pieces++
			h.said.Tokens.Counted = h.said.Pieces
		}
	}
}

// forget takes back what was counted, where an event cannot be read: it may have
// said more. A later one says it all again.
func (h *eventHandler) forget() {
	h.counts = unknown
	h.counts.tell(&h.said.Tokens)
}
