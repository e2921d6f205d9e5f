package pace

import (
	"slices"
	"sync"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// noted is a stream of which it is noted how it was reset. Nothing passes.
type noted struct {
	tunnel.Stream
	done chan struct{}

	mu    sync.Mutex
	codes []tunnel.ResetCode
	peer  tunnel.ResetCode // with which the peer reset it
}

func newNoted() *noted { return &noted{done: make(chan struct{})} }

func (n *noted) Done() <-chan struct{} { return n.done }

// Write of nothing says why nothing can be written.
func (n *noted) Write([]byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case len(n.codes) > 0:
		return 0, &tunnel.ResetError{Code: n.codes[0]}
	case n.peer != 0:
		return 0, &tunnel.ResetError{Code: n.peer, Remote: true}
	}
	return 0, nil
}

func (n *noted) Reset(code tunnel.ResetCode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.codes = append(n.codes, code); len(n.codes) == 1 && n.peer == 0 {
		close(n.done)
	}
}

// lose is a reset by the peer, or with 0 an end in both directions.
func (n *noted) lose(code tunnel.ResetCode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peer = code
	close(n.done)
}

// wantResets checks how the stream was reset.
func (n *noted) wantResets(t *testing.T, want ...tunnel.ResetCode) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.codes, want) {
		t.Errorf("reset with %v, want %v", n.codes, want)
	}
}
