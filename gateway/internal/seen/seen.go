// Package seen remembers what tools looked like when their servers last listed them,
// so that the call of one that has changed can be told from others.
package seen

import "sync"

// Tools are those that were listed. A nil Tools remembers nothing. It may be used
// concurrently. Whoever notes only tools that a policy names bounds its size.
type Tools struct {
	mu   sync.Mutex // guards last
	last map[place][32]byte
}

// place is a tool of a service of a workload.
type place struct{ workload, service, tool string }

// New remembers nothing yet.
func New() *Tools { return &Tools{last: map[place][32]byte{}} }

// Note takes note of the SHA-256 of a tool's description.
func (t *Tools) Note(workload, service, tool string, digest [32]byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last[place{workload, service, tool}] = digest
}

// Last is what was last noted of a tool; false if nothing was.
func (t *Tools) Last(workload, service, tool string) (digest [32]byte, known bool) {
	if t == nil {
		return digest, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	digest, known = t.last[place{workload, service, tool}]
	return digest, known
}
