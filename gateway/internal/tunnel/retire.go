package tunnel

import (
	"context"
	"slices"
)

// Retire has peers open their streams elsewhere: another process of this gateway
// takes its place. Streams that are open go on, and this end may still open more,
// in tunnels that it has or dials for them. None is dialled ahead any more.
func (p *Pool) Retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return
	}
	p.retired = true
	for _, m := range p.members {
		p.turnAway(m)
	}
	p.broadcast()
}

// Drain opens no more streams after Retire, and returns when all have ended or
// the context does.
func (p *Pool) Drain(ctx context.Context) {
	p.mu.Lock()
	members := slices.Clone(p.members)
	p.mu.Unlock()
	drainAll(ctx, members)
}

// turnAway tells a peer to open no more streams in a tunnel. One that can say so
// only for both ends is drained, unless there is no other carrier to open streams
// by. The caller holds mu.
func (p *Pool) turnAway(m *member) {
	if r, ok := m.Tunnel.(Retirer); ok {
		r.Retire()
	} else if p.only() == "" {
		p.leave(m)
	}
}
