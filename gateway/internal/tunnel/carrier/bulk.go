package carrier

import (
	"sync"
	"sync/atomic"
	"time"
)

// A stream that carries TurnsBulkBytes within TurnsBulkWithin, both ways
// together, turns its tunnel bulk: new interactive streams go elsewhere, and no
// stream moves.
const (
	TurnsBulkBytes  = 1 << 20
	TurnsBulkWithin = 10 * time.Second
)

// Volume measures a stream. It is safe for concurrent use.
type Volume struct {
	bytes atomic.Int64

	mu    sync.Mutex // guards since
	since time.Time
}

// NewVolume begins to measure.
func NewVolume() *Volume { return &Volume{since: time.Now()} }

// Add counts n bytes and says whether the stream is bulk. The clock is asked
// once for each TurnsBulkBytes: a stream that begins to hurry after a slow
// start is found when it has carried that much twice.
func (v *Volume) Add(n int) bool {
	if v.bytes.Add(int64(n)) < TurnsBulkBytes {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	bulk := now.Sub(v.since) <= TurnsBulkWithin
	v.since = now
	v.bytes.Store(0)
	return bulk
}
