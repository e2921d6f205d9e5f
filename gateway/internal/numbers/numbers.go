// Package numbers knows which numbers each peer gateway has given to crossings, so that
// none comes twice.
package numbers

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

// keptRuns is how many runs of one peer are kept apart: the one that ends while
// the next has begun, and some that a peer in trouble left behind.
const keptRuns = 4

// keptIDs is how many numbers are known by their crossings, too: those that are not
// in the books yet, and more.
const keptIDs = 1 << 10

// ErrReused says that a number came with another crossing than before.
var ErrReused = errors.New("the number is another crossing's")

// Numbers knows which numbers each peer gateway has used, so that a crossing
// cannot come twice. Peers are those of the policy, so that it stays small. It may be used concurrently.
type Numbers struct {
	mu    sync.Mutex // guards what follows
	peers map[spiffeid.ID][]*runNumbers
}

// New knows of none.
func New() *Numbers { return &Numbers{peers: map[spiffeid.ID][]*runNumbers{}} }

// runNumbers are the numbers of one run. The one that was used last stands
// first.
type runNumbers struct {
	run  string
	seen crossing.Window
	ids  [keptIDs]numbered // by number
}

// numbered is a crossing and its number.
type numbered struct {
	sequence uint64
	id       uuid.UUID
}

// Take takes a peer's number within its run, for a crossing, or says why it must
// not be: with ErrReused, or as crossing.Window does.
func (n *Numbers) Take(peer spiffeid.ID, run string, sequence uint64, id uuid.UUID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	runs := n.peers[peer]
	at := slices.IndexFunc(runs, func(r *runNumbers) bool { return r.run == run })
	if at < 0 {
		runs = append(runs[:min(len(runs), keptRuns-1)], &runNumbers{run: run})
		at = len(runs) - 1
	}
	r := runs[at]
	copy(runs[1:at+1], runs[:at])
	runs[0] = r
	n.peers[peer] = runs
	err, known := r.seen.Take(sequence), &r.ids[sequence%keptIDs]
	switch {
	case err == nil:
		*known = numbered{sequence, id}
	case known.sequence == sequence && known.id != id:
		return fmt.Errorf("%w: %d", ErrReused, sequence)
	}
	return err
}
