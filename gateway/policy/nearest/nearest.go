// Package nearest finds the known name that somebody most likely meant by another.
package nearest

import "fmt"

// Hint is a suggestion to append to a message, or "" if nothing is near.
func Hint(name string, known []string) string {
	if near := Name(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// Name is the known name with the fewest edits from name, at most a third of
// its length and never more than three; the first of several; "" if none.
func Name(name string, known []string) string {
	limit := min(max(len(name)/3, 1), 3)
	best, found := limit+1, ""
	for _, k := range known {
		if d := edits(name, k, limit); d < best {
			best, found = d, k
		}
	}
	return found
}

// edits is the distance of a and b in insertions, deletions, substitutions and
// swaps of neighbours, or limit+1 if it is more than limit.
func edits(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit+1)
}
