package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	scheme   = "spiffe://"
	reserved = "sallyport" // first segment of the IDs of gateways and control planes
	anySeg   = "*"
)

// pattern is a SPIFFE ID in which whole path segments may be "*". No regular
// expressions: two patterns can be compared exactly.
type pattern struct {
	td       spiffeid.TrustDomain
	segments []string
	text     string
	id       spiffeid.ID // set if no segment is "*"
}

// parsePattern reads a SPIFFE ID or a pattern of SPIFFE IDs.
func parsePattern(text string) (pattern, error) {
	rest, ok := strings.CutPrefix(text, scheme)
	if !ok {
		return pattern{}, fmt.Errorf("%q is not a SPIFFE ID: it begins with spiffe://", text)
	}
	name, path, ok := strings.Cut(rest, "/")
	if !ok {
		return pattern{}, fmt.Errorf("%q has no path", text)
	}
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil || td.Name() != name {
		return pattern{}, fmt.Errorf("%q is not a trust domain", name)
	}
	p := pattern{td: td, segments: strings.Split(path, "/"), text: text}
	stars := 0
	for _, s := range p.segments {
		if s == anySeg {
			stars++
			continue
		}
		if err := checkSegment(s); err != nil {
			return pattern{}, fmt.Errorf("%q: %w", text, err)
		}
	}
	if p.segments[0] == reserved {
		return pattern{}, fmt.Errorf("%q: /sallyport/ is reserved for gateways and control planes", text)
	}
	if stars > 0 {
		return p, nil
	}
	p.id, err = spiffeid.FromString(text)
	return p, err
}

func checkSegment(s string) error {
	if strings.Contains(s, anySeg) {
		return errors.New(`"*" stands for a whole path segment only`)
	}
	if err := spiffeid.ValidatePathSegment(s); err != nil {
		return fmt.Errorf("path segment %q: %w", s, err)
	}
	return nil
}

// exact says that the pattern is one SPIFFE ID.
func (p *pattern) exact() bool { return !p.id.IsZero() }

// match says whether an ID has the pattern's form. What is reserved never has.
func (p *pattern) match(id spiffeid.ID) bool {
	if id.TrustDomain() != p.td {
		return false
	}
	rest := strings.TrimPrefix(id.Path(), "/")
	for i, s := range p.segments {
		seg, after, more := strings.Cut(rest, "/")
		if s != anySeg && s != seg || seg == "" || i == 0 && seg == reserved {
			return false
		}
		if more != (i+1 < len(p.segments)) {
			return false
		}
		rest = after
	}
	return true
}

// overlaps says whether some ID has the form of both.
func (p *pattern) overlaps(q *pattern) bool {
	if p.td != q.td || len(p.segments) != len(q.segments) {
		return false
	}
	for i, s := range p.segments {
		if s != q.segments[i] && s != anySeg && q.segments[i] != anySeg {
			return false
		}
	}
	return true
}

// covers says whether every ID of q's form has p's form.
func (p *pattern) covers(q *pattern) bool {
	if p.td != q.td || len(p.segments) != len(q.segments) {
		return false
	}
	for i, s := range p.segments {
		if s != anySeg && s != q.segments[i] {
			return false
		}
	}
	return true
}

// trie finds the pattern that an ID has the form of. A node's depth is fixed,
// so that a look-up visits each node at most once whatever the ID is.
type trie struct {
	next map[string]*trie
	any  *trie
	leaf int // index of a subject, or -1
}

func newTrie() *trie { return &trie{next: map[string]*trie{}, leaf: -1} }

// add puts a pattern in. Of two that overlap either may be found.
func (t *trie) add(segments []string, leaf int) {
	for _, s := range segments {
		var child *trie
		if s == anySeg {
			if t.any == nil {
				t.any = newTrie()
			}
			child = t.any
		} else if child = t.next[s]; child == nil {
			child = newTrie()
			t.next[s] = child
		}
		t = child
	}
	t.leaf = leaf
}

// find is the leaf for a path without its first slash, or -1.
func (t *trie) find(path string) int {
	seg, rest, more := strings.Cut(path, "/")
	for _, child := range [...]*trie{t.next[seg], t.any} {
		if child == nil {
			continue
		}
		if !more {
			if child.leaf >= 0 {
				return child.leaf
			}
		} else if leaf := child.find(rest); leaf >= 0 {
			return leaf
		}
	}
	return -1
}

// overlapping is the leaf of a pattern in the trie that overlaps these
// segments, or -1.
func (t *trie) overlapping(segments []string) int {
	if len(segments) == 0 {
		return t.leaf
	}
	s, rest := segments[0], segments[1:]
	if t.any != nil {
		if leaf := t.any.overlapping(rest); leaf >= 0 {
			return leaf
		}
	}
	if s != anySeg {
		if child := t.next[s]; child != nil {
			return child.overlapping(rest)
		}
		return -1
	}
	best := -1 // the smallest, because a map has no order
	for _, child := range t.next {
		if leaf := child.overlapping(rest); leaf >= 0 && (best < 0 || leaf < best) {
			best = leaf
		}
	}
	return best
}
