package exchange

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

func TestNumbers(t *testing.T) {
	n := numbers{peers: map[spiffeid.ID][]*runNumbers{}}
	one, two := spiffeid.RequireFromString("spiffe://a.test/g"), spiffeid.RequireFromString("spiffe://b.test/g")
	take := func(peer spiffeid.ID, run string, sequence uint64, want error) {
		t.Helper()
		if err := n.take(peer, run, sequence); !errors.Is(err, want) {
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
