package mcp

import (
	"crypto/sha256"
	"encoding/json"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
	"github.com/sallyport-mesh/sallyport/gateway/policy/jcs"
)

func forbidden(what string) error { return &inspect.Error{Kind: inspect.ErrForbidden, What: what} }

// may says whether the caller may get, or call, that.
func (s *sieve) may(operation string) bool {
	if s.rules == nil {
		return true
	}
	ask := inspect.NewAsk()
	ask.Operation = operation
	return s.rules.May(&ask)
}

// list begins or ends a list of what a caller may ask for.
func (s *sieve) list(t *told) error {
	switch {
	case s.rules == nil || t.kind == jsonscan.Null && !t.ended:
	case t.ended:
		s.release()
		s.mode = passing
	case t.kind != jsonscan.Array:
		return inspect.Unreadable("what is listed is no list", nil)
	default:
		s.mode, s.listed, s.kept = between, t.place, false
	}
	return nil
}

// putBetween takes what stands between the entries of a list. A comma goes on with the
// entry behind it, or goes with it; where none has passed yet it goes at once.
func (s *sieve) putBetween(b []byte) error {
	for i, c := range b {
		switch c {
		case ',':
			if s.kept {
				s.held = append(s.held, c)
			}
		case ' ', '\t', '\r', '\n', ']':
			if err := s.frame(b[i : i+1]); err != nil {
				return err
			}
		default:
			return inspect.Unreadable("an entry of a list is no object", nil)
		}
	}
	return s.bound()
}

// judgeEntry lets an entry on that has ended, or leaves it out.
func (s *sieve) judgeEntry(t *told) error {
	switch {
	case s.rules == nil:
		return nil
	case !t.ended:
		return inspect.Unreadable("an entry of a list is no object", nil)
	case !s.named:
		return inspect.Unreadable("an entry of a list has no name", nil)
	}
	if s.shows() {
		s.kept = true
	} else {
		s.held, s.rest = s.rest, s.held
	}
	s.release()
	s.mode = between
	return nil
}

// shows says whether the caller may see the entry that is held: whether it may ask for
// that. A template names no resource yet. It is held against the rules as if it were a
// URI, so that who may read some resources alone, by their URIs, sees no others' names.
func (s *sieve) shows() bool {
	ask := inspect.NewAsk()
	ask.Operation, ask.Tool = s.listed.asked(), s.name
	may := len(s.name) <= inspect.MaxText && s.rules.May(&ask)
	if !may {
		s.said.Hidden++
	}
	if s.listed != tools || !may && s.rules.Seen == nil {
		return may
	}
	return s.pinned(may)
}

// asked is the operation that asks for an entry of a list.
func (p place) asked() string {
	switch p {
	case prompts:
		return GetPrompt
	case resources, templates:
		return ReadResource
	default:
		return CallTool
	}
}

// pinned says of a tool that the caller may see, or may not, whether it may as the tool
// is described.
func (s *sieve) pinned(may bool) bool {
	digest := canonicalDigest(s.doc)
	if s.rules.Seen != nil {
		s.rules.Seen(s.name, digest)
	}
	if !may || s.rules.Pinned(s.name, digest) {
		return may
	}
	if len(s.said.Changed) < inspect.MaxOffered {
		s.said.Changed = append(s.said.Changed, s.name)
	}
	return false
}

// canonicalDigest is the SHA-256 of a text's canonical form; zero if it has none.
func canonicalDigest(text []byte) (digest [sha256.Size]byte) {
	canonical, err := jcs.Canonical(text)
	if err != nil {
		return digest
	}
	return sha256.Sum256(canonical)
}

// judgeInputs lets on what the server asks for in a result, since version 2026-07-28,
// or stops the answer: what is left would be no result.
func (s *sieve) judgeInputs(t *told) error {
	switch {
	case s.rules == nil || t.kind == jsonscan.Null && !t.ended:
		return nil
	case !t.ended:
		return inspect.Unreadable("what the server asks for is no object", nil)
	}
	methods, err := inputs(s.doc)
	if err != nil {
		return err
	}
	for _, method := range methods {
		if !s.may(served(method)) {
			s.said.Stopped++
			return forbidden("what the server asks the client for")
		}
	}
	s.release()
	s.mode = passing
	return nil
}

// inputs are the methods of what a server asks for.
func inputs(doc []byte) (methods []string, err error) {
	if _, err := jcs.Canonical(doc); err != nil {
		return nil, inspect.Ambiguous("what the server asks for: "+err.Error(), nil)
	}
	var asked map[string]map[string]any
	if err := json.Unmarshal(doc, &asked); err != nil {
		return nil, inspect.Unreadable("what the server asks for is no object", nil)
	}
	for _, request := range asked {
		method, ok := request["method"].(string)
		if !ok {
			return nil, inspect.Unreadable("what the server asks for has no method", nil)
		}
		for key := range request {
			if key != "method" && strings.EqualFold(key, "method") {
				return nil, inspect.Ambiguous("a method is spelt in another case", nil)
			}
		}
		methods = append(methods, method)
	}
	return methods, nil
}
