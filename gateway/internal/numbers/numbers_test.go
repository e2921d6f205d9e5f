package numbers

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

func TestNumbers(t *testing.T) {
	n := New()
	one, two := spiffeid.RequireFromString("spiffe://a.test/g"), spiffeid.RequireFromString("spiffe://b.test/g")
	take := func(peer spiffeid.ID, run string, sequence uint64, want error) {
		t.Helper()
		if err := n.Take(peer, run, sequence, uuid.UUID{byte(sequence)}); !errors.Is(err, want) {
			t.Errorf("take(%s, %s, %d) = %v, want %v", peer, run, sequence, err, want)
		}
	}
	take(one, "first", 7, nil)
	take(one, "first", 7, crossing.ErrRepeated)
	take(two, "first", 7, nil) // another peer's
	take(one, "second", 7, nil)
	take(one, "first", 6, nil) // late, of the run before
	take(one, "second", 7, crossing.ErrRepeated)
	for i := range 100 {
		take(one, fmt.Sprint("run ", i), 1, nil)
		take(one, "second", uint64(8+i), nil)
	}
	take(one, "second", 8, crossing.ErrRepeated) // one that is used is not forgotten
	if got := len(n.peers[one]); got != keptRuns {
		t.Errorf("%d runs are kept, want %d", got, keptRuns)
	}
}

// TestReusedNumber: a number that comes again is told by its crossing, for as long as
// that is known.
func TestReusedNumber(t *testing.T) {
	n := New()
	peer := spiffeid.RequireFromString("spiffe://a.test/g")
	one, two := uuid.UUID{1}, uuid.UUID{2}
	for _, c := range []struct {
		sequence uint64
		id       uuid.UUID
		want     error
	}{
		{7, one, nil},
		{7, one, crossing.ErrRepeated},
		{7, two, ErrReused},
		{7, one, crossing.ErrOverused},
		{7 + keptIDs, two, nil},
		{7, two, crossing.ErrOverused}, // whose it was is not known any more
	} {
		if err := n.Take(peer, "run", c.sequence, c.id); !errors.Is(err, c.want) {
			t.Errorf("take(%d, %v) = %v, want %v", c.sequence, c.id[0], err, c.want)
		}
	}
}
