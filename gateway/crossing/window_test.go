package crossing

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestWindow(t *testing.T) {
	tests := []struct {
		name   string
		before []uint64
		n      uint64
		want   error
	}{
		{"the first of a run", nil, 1, nil},
		{"the first that is heard of a run", nil, 1 << 40, nil},
		{"none", nil, 0, ErrStale},
		{"the next", []uint64{1}, 2, nil},
		{"one twice", []uint64{1, 2, 3}, 2, ErrRepeated},
		{"the highest twice", []uint64{1, 2, 3}, 3, ErrRepeated},
		{"one three times", []uint64{1, 2, 3, 2}, 2, ErrOverused},
		{"the number that takes the place of one that came twice", []uint64{1, 1, 2}, 1 + WindowSize, nil},
		{"its second time", []uint64{1, 1, 2, 1 + WindowSize}, 1 + WindowSize, ErrRepeated},
		{"late", []uint64{1, 3}, 2, nil},
		{"late, before the first that was heard", []uint64{100}, 99, nil},
		{"as late as can be", []uint64{1 + WindowSize}, 2, nil},
		{"later", []uint64{1 + WindowSize}, 1, ErrStale},
		{"as far ahead as can be", []uint64{1}, 1 + MaxJump, nil},
		{"further", []uint64{1}, 2 + MaxJump, ErrJump},
		{"at the end of all numbers", []uint64{1}, 1<<64 - 1, ErrJump},
		{"one that has left the window, by its place", []uint64{1, 2, 1 + WindowSize}, 2 + WindowSize, nil},
		{"after a jump over the whole window", []uint64{5, 5 + 2*WindowSize}, 4 + 2*WindowSize, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w Window
			for _, n := range tt.before {
				if err := w.Take(n); err != nil && !errors.Is(err, ErrRepeated) {
					t.Fatalf("Take(%d) = %v", n, err)
				}
			}
			if err := w.Take(tt.n); !errors.Is(err, tt.want) {
				t.Errorf("Take(%d) = %v, want %v", tt.n, err, tt.want)
			}
		})
	}
}

// TestWindowProperties: of numbers near one another, each is taken once, in
// whatever order they come, and excused once.
func TestWindowProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Uint64Range(1, 1<<50).Draw(t, "base")
		var w Window
		seen := map[uint64]int{}
		for _, d := range rapid.SliceOf(rapid.Uint64Range(0, WindowSize-1)).Draw(t, "numbers") {
			n := base + d
			want := []error{nil, ErrRepeated, ErrOverused}[min(seen[n], 2)]
			if err := w.Take(n); !errors.Is(err, want) {
				t.Fatalf("Take(%d) = %v, seen %d times before", n, err, seen[n])
			}
			seen[n]++
		}
	})
}
