package l7

import "testing"

func TestAgain(t *testing.T) {
	before, b := "", []byte("content-type: text/plain")
	for _, want := range []float64{1, 0} { // allocations
		var got string
		n := testing.AllocsPerRun(1, func() { got = Again(before, b) })
		if got != string(b) || n != want {
			t.Errorf("Again(%q) = %q with %v allocations, want %v", before, got, n, want)
		}
		before = got
	}
	b[0] = 'C'
	if got := Again(before, b); got != string(b) || before == got {
		t.Errorf("another text is %q, and the one before %q", got, before)
	}
}
