// Package hear reads what an AI service's answer says while that passes, when each piece
// of it came, and leaves out of it what its caller may not get.
//
// One invariant: what goes on is what came, byte for byte, but for what is left out as a
// whole.
package hear

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/coding"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// mostHeard is how much of an answer in a content coding is read, in bytes, decoded.
const mostHeard = 1 << 30

// Answer is one, while it passes. A nil one reads nothing and lets everything pass. It is
// not safe for concurrent use.
type Answer struct {
	answer  inspect.Answer
	decoder *coding.Decoder // nil if the content has no coding; what it is given goes on as it came
	opened  time.Time
	pieces  int64         // that came before
	first   time.Duration // until the first
	last    time.Time     // when the last came
	gap     time.Duration // the longest between two
	err     error         // what the caller may not get
}

// New begins to read the answer to what was asked for in a protocol, of a crossing that
// opened then. Its head no longer tells a length where something may be left out. It is
// nil if there is nothing to read.
func New(p inspect.Protocol, asks []inspect.Ask, head *l7.ResponseHead, rules *inspect.Rules, opened time.Time) *Answer {
	h := &Answer{opened: opened}
	if h.answer = p.Answer(asks, head, rules); h.answer == nil {
		return nil
	}
	decoder, err := coding.New(coding.Of(head.Fields), decoded{h.answer}, mostHeard)
	h.decoder = decoder
	if editor, ok := p.(inspect.Editor); ok && editor.MayShorten(head, rules) {
		shorten(head)
		if decoder != nil || err != nil {
			h.err = inspect.Unreadable("the answer is encoded, though nobody asked for that", nil)
		}
		return h
	}
	if err != nil {
		return nil
	}
	return h
}

// shorten takes from a head what it says of the content as a whole, of which something
// may be left out.
func shorten(head *l7.ResponseHead) {
	for _, name := range [...]string{"content-length", "content-digest", "repr-digest", "digest", "etag"} {
		head.Fields.Del(name)
	}
}

// decoded takes an answer's content, decoded. All of it goes on as it came.
type decoded struct{ inspect.Answer }

func (o decoded) Write(p []byte) (int, error) {
	_, err := o.Pass(p)
	return len(p), err
}

// Pass reads a piece, and gives what goes on of it.
func (s *Answer) Pass(p []byte) ([]byte, error) {
	if s == nil {
		return p, nil
	}
	if s.err != nil {
		return nil, s.err
	}
	out := p
	if s.decoder == nil {
		out, s.err = s.answer.Pass(p)
	} else {
		s.decoder.Write(p) //nolint:errcheck // what cannot be decoded is not understood, and says so again each time
	}
	s.note(s.answer.Said().Pieces)
	return out, s.err
}

// Forbidden is what in the answer the caller may not get; nil if there is nothing.
func (s *Answer) Forbidden() error {
	if s == nil {
		return nil
	}
	return s.err
}

// note takes note of when pieces of the content came.
func (s *Answer) note(pieces int64) {
	if pieces == s.pieces {
		return
	}
	now := time.Now()
	if s.pieces == 0 {
		s.first = now.Sub(s.opened)
	} else {
		s.gap = max(s.gap, now.Sub(s.last))
	}
	s.pieces, s.last = pieces, now
}

// End gives what is still to go on.
func (s *Answer) End() ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	if s.err != nil {
		return nil, s.err
	}
	if s.decoder != nil && s.decoder.End() != nil {
		return nil, nil //nolint:nilerr // all of it has passed; nobody can tell whether it was whole
	}
	var out []byte
	out, s.err = s.answer.End()
	return out, s.err
}

// Record is what the crossing's record says of it; nil if nothing was read.
func (s *Answer) Record() *crossingv1.Said {
	if s == nil {
		return nil
	}
	if s.decoder != nil {
		s.decoder.Close() //nolint:errcheck // it never fails
	}
	got := s.answer.Said()
	r := &crossingv1.Said{
		Id: crossing.Word(got.ID), ModelServed: crossing.Word(got.Model), FinishReason: crossing.Word(got.Finish),
		Failed: got.Failed, Fault: crossing.Word(got.Fault), Pieces: uint64(max(got.Pieces, 0)),
		ToolsListed: uint64(max(got.Listed, 0)), ToolsHidden: uint64(max(got.Hidden, 0)), MessagesStopped: uint64(max(got.Stopped, 0)),
		Tokens: tokens(&got.Tokens), Outputs: inspect.RecordTensors(got.Outputs, crossing.Word),
	}
	for _, tool := range got.Changed {
		r.ToolsChanged = append(r.ToolsChanged, crossing.Word(tool))
	}
	if s.pieces > 0 {
		r.FirstToken = durationpb.New(s.first)
	}
	if s.gap > 0 {
		r.LongestGap = durationpb.New(s.gap)
	}
	return r
}

// tokens are what is known of them: as reported, or else at least as many as were
// counted; nil if nothing.
func tokens(t *inspect.Tokens) *crossingv1.Tokens {
	r := &crossingv1.Tokens{
		Input: number(t.Input), Output: number(t.Output), CacheRead: number(t.CacheRead),
		CacheWritten: number(t.CacheWritten), Reasoning: number(t.Reasoning),
	}
	switch {
	case t.Output < 0 && t.Counted >= 0:
		r.Output, r.Source = number(t.Counted), crossingv1.Tokens_COUNTED
	case r.Input != nil || r.Output != nil:
		r.Source = crossingv1.Tokens_REPORTED
	default:
		return nil
	}
	return r
}

// number is one that a provider told; nil if it did not.
func number(n int64) *uint32 {
	if n < 0 || n >= 1<<32 {
		return nil
	}
	short := uint32(n)
	return &short
}
