package statement

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

var errOrder = errors.New("numbers do not rise")

// distances codes rising numbers as each one's distance from the one before, the
// first's from that number.
func distances(numbers []uint64, from uint64) []uint64 {
	if len(numbers) == 0 {
		return nil
	}
	ds := make([]uint64, len(numbers))
	for at, n := range numbers {
		ds[at], from = n-from, n
	}
	return ds
}

// numbersOf is the opposite of distances. It refuses more than max numbers, and
// what does not rise.
func numbersOf(ds []uint64, from uint64, most int) ([]uint64, error) {
	if len(ds) > most {
		return nil, fmt.Errorf("%d numbers, the most is %d", len(ds), most)
	}
	if len(ds) == 0 {
		return nil, nil
	}
	numbers := make([]uint64, len(ds))
	for at, d := range ds {
		if at > 0 && d == 0 || d > math.MaxUint64-from {
			return nil, errOrder
		}
		from += d
		numbers[at] = from
	}
	return numbers, nil
}

// fitting is how many of the numbers fit into so many bytes, as distances.
func fitting(numbers []uint64, room int) int {
	before := uint64(0)
	for at, n := range numbers {
		if room -= protowire.SizeVarint(n - before); room < 0 {
			return at
		}
		before = n
	}
	return len(numbers)
}

// has says whether a number is among rising ones.
func has(numbers []uint64, n uint64) bool {
	_, found := slices.BinarySearch(numbers, n)
	return found
}
