// Package genai says in OpenTelemetry's words what a record of a crossing says: as
// attributes by the names of one version of its semantic conventions for generative AI,
// which are in development and change their names. It exports nothing to anybody.
//
// The one invariant: a name comes from a table of that version, or is one of our own
// under "sallyport."; and under a name of the conventions stands only what they mean by
// it. What is not known is absent, and what the gateway counted itself is not what a
// provider reported.
package genai

import (
	"fmt"
	"slices"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Attribute is one of a record's.
type Attribute struct {
	// Name of it, in a version's words.
	Name string
	// Value is a string, a bool, an int64, a float64 or a []string.
	Value any
}

// Version of the conventions. The zero Version has no names but our own.
type Version struct{ names *[facts]string }

// Versions that there are tables of, oldest first.
func Versions() []string {
	var all []string
	for _, t := range tables() {
		all = append(all, t.version)
	}
	return all
}

// Parse gives the version of a name; an error says which there are.
func Parse(name string) (Version, error) {
	for _, t := range tables() {
		if t.version == name {
			return Version{&t.names}, nil
		}
	}
	return Version{}, fmt.Errorf("unknown version %q of the semantic conventions: choose one of %s", name, strings.Join(Versions(), ", "))
}

// Attributes of a record, each once and always in the same order.
func (v Version) Attributes(r *crossingv1.Record) []Attribute {
	s := set{version: v, own: own()}
	s.crossing(r)
	s.ends(r)
	s.asked(r.GetOperation())
	s.tool(r.GetOperation())
	s.answered(r.GetOperation())
	s.said(r)
	s.failure(r)
	slices.SortStableFunc(s.all, func(a, b placed) int { return int(a.fact) - int(b.fact) })
	attributes := make([]Attribute, len(s.all))
	for i, p := range s.all {
		attributes[i] = p.Attribute
	}
	return attributes
}

// set is what is known so far.
type set struct {
	version Version
	own     [facts]string
	all     []placed
}

type placed struct {
	Attribute

	fact fact
}

// put adds a value under the name that the version has for the fact, or else under ours;
// nothing if there is neither.
func (s *set) put(f fact, value any) {
	name := s.own[f]
	if s.version.names != nil && s.version.names[f] != "" {
		name = s.version.names[f]
	}
	if name != "" {
		s.all = append(s.all, placed{Attribute{name, value}, f})
	}
}

// text adds a text unless it is empty: no fact here has an empty one.
func (s *set) text(f fact, value string) {
	if value != "" {
		s.put(f, value)
	}
}

// number adds a number, unless nobody knows it: zero is a value.
func (s *set) number(f fact, value *uint32) {
	if value != nil {
		s.put(f, int64(*value))
	}
}
