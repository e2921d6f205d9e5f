package jsonscan

import (
	"fmt"
	"maps"
	"slices"
)

// Schema is what somebody looks for in a document: Paths, and what stands at each in the
// words of who asks. It is immutable.
type Schema[P ~uint8] struct {
	Paths *Paths
	Is    []P // by the index of the path
}

// MustSchema is of places by their pointers, as Compile has them, for constants: it panics
// where that has an error, and where two sets have one pointer.
func MustSchema[P ~uint8](sets ...map[string]P) *Schema[P] {
	all := map[string]P{}
	for _, set := range sets {
		for pointer, is := range set {
			if _, twice := all[pointer]; twice {
				panic(fmt.Sprintf("pointer %q: given twice", pointer))
			}
			all[pointer] = is
		}
	}
	pointers := slices.Sorted(maps.Keys(all))
	s := &Schema[P]{Paths: MustCompile(pointers...)}
	for _, pointer := range pointers {
		s.Is = append(s.Is, all[pointer])
	}
	return s
}
