package openai

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// teller gathers what the JSON texts of an answer say.
type teller struct {
	said  inspect.Said
	ended []ended // choices, in the order of their indexes
}

// Said is what was found so far.
func (t *teller) Said() *inspect.Said { return &t.said }

// tell takes what one text says.
func (t *teller) tell(f *found) {
	s := &t.said
	if s.ID == "" {
		s.ID = f.id
	}
	if s.Model == "" {
		s.Model = f.model
	}
	if f.used && !f.pending {
		counted := s.Tokens.Counted
		s.Tokens = f.tokens
		s.Tokens.Counted = counted
	}
	if f.failed {
		s.Failed = true
	}
	if s.Failed && s.Fault == "" {
		if s.Fault = f.kind; s.Fault == "" {
			s.Fault = f.code
		}
	}
	t.tellFinish(f)
}

// tellFinish takes why a response, or some choices, have ended.
func (t *teller) tellFinish(f *found) {
	switch {
	case f.reason != "":
		t.said.Finish = f.reason
	case f.status != "":
		t.said.Finish = f.status
	}
	if len(f.choices) == 0 {
		return
	}
	for _, c := range f.choices {
		t.end(c)
	}
	var reasons []string
	for _, c := range t.ended {
		reasons = append(reasons, c.reason)
	}
	t.said.Finish = strings.Join(reasons, ",")
}

// end takes why a choice has ended; it may be told again.
func (t *teller) end(c ended) {
	i, told := slices.BinarySearchFunc(t.ended, c.index, func(e ended, index int64) int { return cmp.Compare(e.index, index) })
	switch {
	case told:
		t.ended[i] = c
	case len(t.ended) < maxChoices:
		t.ended = slices.Insert(t.ended, i, c)
	}
}
