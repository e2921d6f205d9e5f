package openai

import (
	"bytes"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// reader reads one JSON text of an answer. What it found holds only if the text
// proves to be whole.
type reader struct {
	scan   jsonscan.Scanner
	schema *schema
	said   *inspect.Said // before: what it repeats needs no room of its own
	bad    bool
	found  found
}

// found is what one JSON text says.
type found struct {
	id, model, status, reason string
	kind, code                string // of a fault
	eventCode                 string // of an event of a response, which may be something else
	failed, isError           bool   // isError is of an event of a response
	isDelta                   bool   // of a response: it is an event that brings some of one
	behind                    bool   // a response is made in the background, where no answer waits for it
	pending                   bool   // it is not made yet: what it has used is not known

	used   bool // there is a usage
	tokens inspect.Tokens

	pieces  int64
	count   int64 // of choices so far
	choice  ended // that is being read
	inside  bool  // of it there is content
	choices []ended
}

// ended is why a choice has ended.
type ended struct {
	index  int64
	reason string // "" if it has not
}

// Bounds of what is told of choices.
const (
	maxChoices = 32 // that are told why they ended
	maxReason  = 64 // in bytes
)

func (r *reader) begin(s *schema, said *inspect.Said) {
	r.schema, r.said, r.bad = s, said, false
	r.found = found{choices: r.found.choices[:0]}
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
func (r *reader) end() bool {
	if r.bad || r.scan.End() != nil {
		return false
	}
	f := &r.found
	f.endChoice()
	if f.isDelta && f.inside {
		f.pieces = 1
	}
	if f.isError {
		f.failed = true
		if f.code == "" {
			f.code = f.eventCode
		}
	}
	return true
}

// readerHandler is a reader that is told of values, which is not for others to do.
type readerHandler reader

var _ jsonscan.Handler = (*readerHandler)(nil)

func (h *readerHandler) Value(path int, kind jsonscan.Kind, text []byte) error {
	f := &h.found
	switch is := h.schema.Is[path]; {
	case is == choice:
		f.endChoice()
		f.choice.index = f.count
		f.count++
	case is == content:
		f.inside = f.inside || kind == jsonscan.String && len(text) > 0
	case is == usage:
		if f.used = kind == jsonscan.Object; f.used {
			f.tokens = inspect.NewSaid().Tokens
		}
	case is == behind:
		f.behind = kind == jsonscan.True
	case is == failure:
		f.failed = f.failed || kind != jsonscan.Null
	case kind == jsonscan.Number:
		f.number(is, text)
	case kind == jsonscan.String:
		h.text(is, text)
	}
	return nil
}

// number takes a number that is whole and not below zero, and says nothing of
// others.
func (f *found) number(is place, text []byte) {
	if is == faultCode {
		f.code = short(text)
		return
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 {
		return
	}
	switch is {
	case index:
		f.choice.index = n
	case input:
		f.tokens.Input = n
	case output:
		f.tokens.Output = n
	case cached:
		f.tokens.CacheRead = n
	case written:
		f.tokens.CacheWritten = n
	case reasoning:
		f.tokens.Reasoning = n
	}
}

func (h *readerHandler) text(is place, text []byte) {
	f := &h.found
	switch is {
	case answerID:
		f.id = again(h.said.ID, text)
	case answerModel:
		f.model = again(h.said.Model, text)
	case status:
		f.failed = f.failed || string(text) == "failed"
		f.pending = string(text) == "queued" || string(text) == "in_progress"
		if final(text) {
			f.status = again(h.said.Finish, text)
		}
	case reason:
		f.reason = again(h.said.Finish, text)
	case finish:
		if len(text) <= maxReason {
			f.choice.reason = again(h.said.Finish, text)
		}
	case event:
		f.isDelta = bytes.HasSuffix(text, []byte(".delta"))
		f.isError = string(text) == "error"
	case faultType:
		f.kind = again(h.said.Fault, text)
	case faultCode:
		f.code = again(h.said.Fault, text)
	case eventCode:
		f.eventCode = again(h.said.Fault, text)
	}
}

// again is a text, which most often was there before.
func again(before string, text []byte) string {
	if string(text) == before {
		return before
	}
	return short(text)
}

// final says of a response's status that it does not change any more.
func final(status []byte) bool {
	switch string(status) {
	case "completed", "failed", "incomplete", "cancelled":
		return true
	default:
		return false
	}
}

// endChoice goes on behind a choice.
func (f *found) endChoice() {
	if f.count == 0 {
		return
	}
	if f.inside {
		f.pieces++
	}
	if f.choice.reason != "" && len(f.choices) < maxChoices {
		f.choices = append(f.choices, f.choice)
	}
	f.choice, f.inside = ended{}, false
}
