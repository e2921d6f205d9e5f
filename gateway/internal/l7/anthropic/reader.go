package anthropic

import (
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// reader reads one JSON text of an answer. What it found holds only if the text
// proves to be whole.
type reader struct {
	scan   jsonscan.Scanner
	schema *schema
	said   *inspect.Said // before: what is said again needs no room of its own
	bad    bool
	found  found
}

// found is what one JSON text says.
type found struct {
	kind                     textKind
	id, model, finish, fault string
	counts                   counts
	start                    counts // that a stream begins with
	piece                    bool   // it brings some content
}

// textKind is what a JSON text says that it is, of what matters.
type textKind uint8

const (
	otherText textKind = iota // it says nothing
	startText
	deltaText
	blockText // a block of content begins
	pieceText // a piece of it
	errorText
	costlessText // a result of a batch that no model answered
)

// kindOf is what a text, or an event of that name, is.
func kindOf(name []byte) textKind {
	switch string(name) {
	case "message_start":
		return startText
	case "message_delta":
		return deltaText
	case "content_block_start":
		return blockText
	case "content_block_delta":
		return pieceText
	case "error":
		return errorText
	case "errored", "canceled", "expired":
		return costlessText
	default:
		return otherText
	}
}

func (r *reader) begin(s *schema, said *inspect.Said) {
	r.schema, r.said, r.bad = s, said, false
	r.found = found{counts: unknown, start: unknown}
	r.scan.Reset(s.Paths, (*readerHandler)(r))
}

func (r *reader) write(p []byte) {
	if r.bad {
		return
	}
	_, err := r.scan.Write(p)
	r.bad = err != nil
}

// end says whether the text was whole.
func (r *reader) end() bool { return !r.bad && r.scan.End() == nil }

// readerHandler is a reader that is told of values, which is not for others to do.
type readerHandler reader

var _ jsonscan.Handler = (*readerHandler)(nil)

func (h *readerHandler) Value(path int, is jsonscan.Kind, text []byte) error {
	switch is {
	case jsonscan.String:
		h.text(h.schema.Is[path], text)
	case jsonscan.Number:
		if at := h.schema.Is[path]; at&ofStart != 0 {
			h.found.start.set(at&^ofStart, text)
		} else {
			h.found.counts.set(at, text)
		}
	}
	return nil
}

func (h *readerHandler) text(at place, text []byte) {
	f := &h.found
	switch at {
	case kind:
		f.kind = kindOf(text)
	case answerID:
		f.id = again(h.said.ID, text)
	case answerModel:
		f.model = again(h.said.Model, text)
	case finish:
		f.finish = again(h.said.Finish, text)
	case fault:
		f.fault = again(h.said.Fault, text)
	case delta:
		switch string(text) {
		case "text_delta", "input_json_delta", "thinking_delta":
			f.piece = true
		}
	}
}

// again is a text, which most often was there before; "" if it is too long to be
// told.
func again(before string, text []byte) string {
	switch {
	case string(text) == before:
		return before
	case len(text) > inspect.MaxText:
		return ""
	}
	return string(text)
}

// counts are tokens as the API counts them: input is none that was cached. What is
// not known is -1.
type counts struct{ input, cacheRead, cacheWritten, output, reasoning int64 }

var unknown = counts{-1, -1, -1, -1, -1}

// maxCount is more than anyone counts, and few enough for sums. It is also what every
// reader of JSON reads exactly (RFC 8259, section 6).
const maxCount = 1<<53 - 1

// set takes a number that is a count, and says nothing of others.
func (c *counts) set(at place, text []byte) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > maxCount {
		return
	}
	switch at {
	case input:
		c.input = n
	case cacheRead:
		c.cacheRead = n
	case cacheWritten:
		c.cacheWritten = n
	case output:
		c.output = n
	case reasoning:
		c.reasoning = n
	}
}

// update takes what a later usage says. All are of the answer so far: what it does
// not say stays as it was.
func (c *counts) update(later counts) {
	for _, n := range [...]struct {
		at    *int64
		later int64
	}{
		{&c.input, later.input},
		{&c.cacheRead, later.cacheRead},
		{&c.cacheWritten, later.cacheWritten},
		{&c.output, later.output},
		{&c.reasoning, later.reasoning},
	} {
		if n.later >= 0 {
			*n.at = n.later
		}
	}
}

// tell says them as others count: input is all of it.
func (c counts) tell(to *inspect.Tokens) {
	to.Input = c.input
	if c.input >= 0 {
		to.Input += max(c.cacheRead, 0) + max(c.cacheWritten, 0)
	}
	to.CacheRead, to.CacheWritten = c.cacheRead, c.cacheWritten
	to.Output, to.Reasoning = c.output, c.reasoning
}
