package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxTunnels is how many tunnels one peer may have here. More are closed: a
// peer that goes mad costs its own crossings only.
const maxTunnels = 16

// errStopped says that the pool does not run any more.
var errStopped = errors.New("gateway is stopping")

// Dialer dials tunnels.
type Dialer interface {
	// Dial makes a tunnel for a class of traffic to the peer at HOST:PORT and
	// proves that it is that peer. It gives up when the context ends, at the
	// latest.
	Dial(ctx context.Context, addr string, peer spiffeid.ID, class Class) (Tunnel, error)
}

// Peer is a gateway that tunnels may lead to.
type Peer struct {
	ID          spiffeid.ID
	Environment string // at whose edge it stands
	Address     string // HOST:PORT to dial; empty if the peer dials
}

// PoolConfig configures a Pool.
type PoolConfig struct {
	// Dialer dials peers that have an address. Required.
	Dialer Dialer
	// DialTimeout bounds one attempt. Default 10 s.
	DialTimeout time.Duration
	// DrainTimeout is how long streams may go on in a tunnel that is going away,
	// because its peer was removed or Run ends. Default 10 s.
	DrainTimeout time.Duration
	// Log may be nil.
	Log *zap.Logger
}

// Pool keeps tunnels to the gateways of the policy: it dials those that have an
// address and keeps what the others dialled. A tunnel carries streams both
// ways, whoever dialled. All methods may be called concurrently.
type Pool struct {
	cfg     PoolConfig
	wake    chan struct{} // holds one signal for Run
	started chan struct{} // closed when Run has begun

	mu      sync.Mutex // guards what follows
	run     *run       // nil before Run
	known   bool       // SetPeers was called
	peers   map[spiffeid.ID]*peer
	members []*member
	changed chan struct{} // closed and replaced when a tunnel came or a dial failed
}

// peer is a Peer and how dialling it goes.
type peer struct {
	Peer
	flight   *flight // the attempt under way
	failures int
	last     time.Time // when the last attempt ended
	retry    time.Time // when the next one in the background is due
}

// member is a tunnel of the pool.
type member struct {
	Tunnel
	id     spiffeid.ID
	since  time.Time
	leaves bool // the pool drains it
}

// usable says whether streams can be opened in it.
func (m *member) usable() bool {
	select {
	case <-m.Done():
		return false
	default:
		return !m.leaves && !m.Info().Draining
	}
}

// NewPool makes a pool without peers. Run makes it work.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Pool{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		started: make(chan struct{}),
		peers:   map[spiffeid.ID]*peer{},
		changed: make(chan struct{}),
	}
}

// SetPeers says which peers there are from now on. Tunnels to others drain and
// close.
func (p *Pool) SetPeers(peers []Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[spiffeid.ID]*peer, len(peers))
	for _, fresh := range peers {
		old := p.peers[fresh.ID]
		if old == nil {
			old = &peer{}
		}
		if old.Address != fresh.Address {
			old.failures, old.retry = 0, time.Time{} // what failed was another address
		}
		old.Peer = fresh
		next[fresh.ID] = old
	}
	p.peers, p.known = next, true
	for _, m := range p.members {
		if next[m.id] == nil {
			p.leave(m)
		}
	}
	p.nudge()
	p.broadcast()
}

// Add takes over a tunnel that a peer dialled. The pool closes it in the end,
// and at once if the peer has too many.
func (p *Pool) Add(t Tunnel) {
	if !p.add(t) {
		t.Close() // it was not wanted anyway
	}
}

func (p *Pool) add(t Tunnel) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &member{Tunnel: t, id: t.Info().Peer, since: time.Now()}
	if p.run != nil && p.run.stopping {
		return false
	}
	if p.count(m.id) >= maxTunnels {
		p.cfg.Log.Warn("peer has too many tunnels", zap.Stringer("peer", m.id), zap.Int("limit", maxTunnels))
		return false
	}
	p.members = append(p.members, m)
	if p.run != nil {
		p.run.serve(m)
	}
	p.broadcast()
	return true
}

func (p *Pool) count(id spiffeid.ID) int {
	n := 0
	for _, m := range p.members {
		if m.id == id {
			n++
		}
	}
	return n
}

// remove forgets a tunnel that has ended.
func (p *Pool) remove(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = slices.DeleteFunc(p.members, func(o *member) bool { return o == m })
	p.nudge()
}

// Tunnels describes the tunnels there are, by peer and age.
func (p *Pool) Tunnels() []Info {
	p.mu.Lock()
	members := slices.Clone(p.members)
	p.mu.Unlock()
	infos := make([]Info, 0, len(members))
	for _, m := range members {
		select {
		case <-m.Done():
		default:
			infos = append(infos, m.Info())
		}
	}
	slices.SortFunc(infos, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Peer.String(), b.Peer.String()), a.Since.Compare(b.Since))
	})
	return infos
}

// Pick gives a tunnel to a gateway of the environment: of those that live, the
// one with the fewest streams, then the shortest round trip. If there is none
// it dials all gateways of the environment that have an address, and takes the
// first to answer. It fails when all have failed, with what became of each, or
// when the context ends. If the tunnel starts to drain before a stream is
// opened in it, opening finds another one to the same gateway.
func (p *Pool) Pick(ctx context.Context, environment string) (Tunnel, error) {
	m, err := p.pick(ctx, func(pr *peer) bool { return pr.Environment == environment })
	if err != nil {
		return nil, fmt.Errorf("reach environment %q: %w", environment, err)
	}
	return &picked{Tunnel: m.Tunnel, pool: p}, nil
}

func (p *Pool) pick(ctx context.Context, match func(*peer) bool) (*member, error) {
	select {
	case <-p.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var tried []*flight
	for {
		p.mu.Lock()
		best, changed := p.best(match), p.changed
		if best == nil && tried == nil {
			tried = p.dialAll(match)
		}
		stopping := p.run.stopping
		p.mu.Unlock()
		switch {
		case best != nil:
			return best, nil
		case stopping:
			return nil, errStopped
		case !slices.ContainsFunc(tried, (*flight).underway):
			return nil, attempts(tried)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), attempts(tried))
		}
	}
}

// best is the tunnel to open the next stream in; nil if there is none. The
// caller holds mu.
func (p *Pool) best(match func(*peer) bool) *member {
	var best *member
	var least Info
	for _, m := range p.members {
		pr := p.peers[m.id]
		if pr == nil || !match(pr) || !m.usable() {
			continue
		}
		if i := m.Info(); best == nil || better(i, least) {
			best, least = m, i
		}
	}
	return best
}

func better(a, b Info) bool {
	return cmp.Or(cmp.Compare(a.Streams, b.Streams), cmp.Compare(a.RoundTrip, b.RoundTrip)) < 0
}

// broadcast wakes those who wait in pick. The caller holds mu.
func (p *Pool) broadcast() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// nudge makes Run look again at what is to do.
func (p *Pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// picked is a tunnel as Pick gives it.
type picked struct {
	Tunnel
	pool *Pool
}

// Open implements Tunnel. Between Pick and Open a crossing is recorded, which
// is time enough for a tunnel to begin to drain.
func (t *picked) Open(ctx context.Context, h *crossingv1.Header) (Stream, error) {
	s, err := t.Tunnel.Open(ctx, h)
	if !errors.Is(err, ErrDraining) {
		return s, err
	}
	id := t.Info().Peer
	m, perr := t.pool.pick(ctx, func(pr *peer) bool { return pr.ID == id })
	if perr != nil {
		return nil, fmt.Errorf("%w, and no other: %w", err, perr)
	}
	return m.Open(ctx, h)
}
