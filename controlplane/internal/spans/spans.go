// Package spans is a set of numbers that are mostly dense, such as those of crossings.
//
// The one invariant: it has as few spans as there can be, in order.
package spans

import "slices"

// Set is numbers, as few spans of them as they make. The zero value has none.
type Set []Span

// Span is the numbers from one to the one before another.
type Span struct{ From, To uint64 }

// At is the index of the first span that ends after n.
func (s Set) At(n uint64) int {
	i, _ := slices.BinarySearchFunc(s, n, func(x Span, n uint64) int {
		if x.To <= n {
			return -1
		}
		return 1
	})
	return i
}

// Has says that a number is in the set.
func (s Set) Has(n uint64) bool {
	i := s.At(n)
	return i < len(s) && s[i].From <= n
}

// Add adds the numbers of a span.
func (s *Set) Add(x Span) {
	if x.From >= x.To {
		return
	}
	from := s.At(x.From)
	if from > 0 && (*s)[from-1].To == x.From {
		from--
	}
	to := from
	for to < len(*s) && (*s)[to].From <= x.To {
		x.From, x.To = min(x.From, (*s)[to].From), max(x.To, (*s)[to].To)
		to++
	}
	*s = slices.Replace(*s, from, to, x)
}

// Missing are the spans between from and to that are not there.
func (s Set) Missing(from, to uint64) Set {
	var gaps Set
	for _, x := range s[s.At(from):] {
		if x.From >= to {
			break
		}
		if from < x.From {
			gaps = append(gaps, Span{from, x.From})
		}
		from = x.To
	}
	if from < to {
		gaps = append(gaps, Span{from, to})
	}
	return gaps
}
