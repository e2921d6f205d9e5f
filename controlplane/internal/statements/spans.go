package statements

import "slices"

// spans are numbers, as few spans of them as they make. The zero value has none.
type spans []span

// span is the numbers from one to the one before another.
type span struct{ from, to uint64 }

// at is the first span that ends after n.
func (s spans) at(n uint64) int {
	i, _ := slices.BinarySearchFunc(s, n, func(x span, n uint64) int {
		if x.to <= n {
			return -1
		}
		return 1
	})
	return i
}

func (s spans) has(n uint64) bool {
	i := s.at(n)
	return i < len(s) && s[i].from <= n
}

// add adds the numbers of a span.
func (s *spans) add(x span) {
	if x.from >= x.to {
		return
	}
	from := s.at(x.from)
	if from > 0 && (*s)[from-1].to == x.from {
		from--
	}
	to := from
	for to < len(*s) && (*s)[to].from <= x.to {
		x.from, x.to = min(x.from, (*s)[to].from), max(x.to, (*s)[to].to)
		to++
	}
	*s = slices.Replace(*s, from, to, x)
}

// missing are the spans between from and to that are not there.
func (s spans) missing(from, to uint64) spans {
	var gaps spans
	for _, x := range s[s.at(from):] {
		if x.from >= to {
			break
		}
		if from < x.from {
			gaps = append(gaps, span{from, x.from})
		}
		from = x.to
	}
	if from < to {
		gaps = append(gaps, span{from, to})
	}
	return gaps
}
