package admission

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// Bounds of a Memory.
const (
	lasts    = 12 * time.Hour // what was noted is known for so long, and for twice that at most
	maxNotes = 1 << 15        // that are known for long; as many more may be on their way out
	maxBy    = 8              // manifests that are known to name one content
	maxDepth = 3              // of indexes and manifests above a content
)

// Place is where a manifest was got, and by whom.
type Place struct{ Caller, Destination, Service string }

// Memory knows which manifests that callers got name which contents, for some time. It is
// bounded: of too many the oldest go. A nil one knows nothing. It may be used concurrently.
type Memory struct {
	mu     sync.Mutex // guards what follows
	now    notes
	before notes // until now is full, or old
}

// notes are what was noted in one stretch of time.
type notes struct {
	since time.Time
	n     int
	by    map[Place]map[Sum][]Sum // the manifests that name a content
}

// NewMemory knows nothing yet.
func NewMemory() *Memory { return new(Memory) }

// note takes note of what a manifest names that came as a whole.
func (m *Memory) note(p Place, manifest Sum, named []Sum) {
	if m == nil || len(named) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := time.Now()
	m.age(at)
	if m.now.n+len(named) > maxNotes {
		m.turn(at)
	}
	m.now.add(p, manifest, named)
}

// age lets go of what is old. The caller holds mu.
func (m *Memory) age(at time.Time) {
	if at.Sub(m.now.since) >= lasts {
		m.turn(at)
	}
	if at.Sub(m.before.since) >= 2*lasts {
		m.before = notes{}
	}
}

// turn begins another stretch. The caller holds mu.
func (m *Memory) turn(at time.Time) {
	m.before, m.now = m.now, notes{since: at, by: map[Place]map[Sum][]Sum{}}
}

// add takes notes, which outlast the texts of the crossing that they came with.
func (n *notes) add(p Place, manifest Sum, named []Sum) {
	here := n.by[p]
	if here == nil {
		here = map[Sum][]Sum{}
		n.by[Place{strings.Clone(p.Caller), strings.Clone(p.Destination), strings.Clone(p.Service)}] = here
	}
	for _, s := range named {
		by := here[s]
		if slices.Contains(by, manifest) {
			continue
		}
		if len(by) == maxBy {
			by = slices.Delete(by, 0, 1)
			n.n--
		}
		here[s] = append(by, manifest)
		n.n++
	}
}

// reaches says that a list has a content, or a manifest that names it, or an index that
// names that: each of them as the caller got it there.
func (m *Memory) reaches(p Place, s Sum, list policy.Digests) bool {
	if list.Has(s) {
		return true
	}
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.age(time.Now())
	return m.named(p, s, list, maxDepth)
}

// named is reaches, of a content that the list does not have. The caller holds mu.
func (m *Memory) named(p Place, s Sum, list policy.Digests, depth int) bool {
	if depth == 0 {
		return false
	}
	for _, known := range [...]*notes{&m.now, &m.before} {
		for _, by := range known.by[p][s] {
			if list.Has(by) || m.named(p, by, list, depth-1) {
				return true
			}
		}
	}
	return false
}
