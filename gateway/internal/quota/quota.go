// Package quota counts what each caller has under way, and says when that is
// enough. It knows nothing of what is counted.
//
// One invariant: whatever Enter let in is counted until Leave, once.
package quota

import "sync"

// Quota is what each caller may have under way at one time. A nil Quota lets
// everything in. All methods may be called concurrently.
type Quota struct {
	most int

	mu   sync.Mutex // guards open
	open map[string]int
}

// New makes a quota of so many for each caller.
func New(most int) *Quota { return &Quota{most: most, open: map[string]int{}} }

// Enter says whether the caller may have one more, and counts it if so. It does
// not allocate for a caller who has some.
func (q *Quota) Enter(caller string) bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.open[caller]
	if n >= q.most {
		return false
	}
	q.open[caller] = n + 1
	return true
}

// Leave says that one of the caller's has ended. Who has none left is forgotten.
func (q *Quota) Leave(caller string) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := q.open[caller]; n > 1 {
		q.open[caller] = n - 1
	} else {
		delete(q.open, caller)
	}
}
