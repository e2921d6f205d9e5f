package tunnel

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
)

// maxTunnels is how many tunnels one peer may have here, and maxDraining how many
// beside them that drain, which are those of its processes from before. More are
// closed: a peer that goes mad costs its own crossings only.
const (
	maxTunnels  = 16
	maxDraining = 4 * maxTunnels
)

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
	// Dialers dial peers that have an address, one for each carrier that is to be
	// used.
	Dialers map[string]Dialer
	// DialsOut says that no peer can dial this gateway. It then keeps a tunnel for
	// each class to every peer, for crossings that come from there.
	DialsOut bool
	// DialTimeout bounds one attempt. Default 10 s.
	DialTimeout time.Duration
	// DrainTimeout is how long streams may go on in a tunnel that is going away,
	// because its peer was removed or Run ends. Default 10 s.
	DrainTimeout time.Duration
	// Awaits says that peers which dial by themselves dial this gateway soon after
	// Run begins, for they had tunnels to the process before it.
	Awaits bool
	// Chose is told of each choice of a carrier. It must not block. May be nil.
	Chose func(carrier string, class Class, choice Choice)
	// Moved is told of each stream that another carrier went on with, because the
	// first one fell silent before an answer came. It must not block. May be nil.
	Moved func(carrier string, class Class)
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
	watched watched       // streams that no answer has come to
	added   atomic.Uint64 // how many tunnels there have been

	mu      sync.Mutex // guards what follows
	run     *run       // nil before Run
	retired bool       // Retire was called
	known   bool       // SetPeers was called
	peers   map[spiffeid.ID]*peer
	members []*member
	changed chan struct{} // closed and replaced when a tunnel came or went, or a dial failed
}

// peer is a Peer, how dialling it goes, and what its path is like.
type peer struct {
	Peer
	ways map[way]*dialling
	path path
}

// member is a tunnel of the pool.
type member struct {
	Tunnel
	id     spiffeid.ID
	number uint64 // tunnels are counted as they are added
	since  time.Time
	given  [2][4]*picked // as Pick gives it, by class and choice
	picks  picks         // of bulk streams
	idle   time.Time     // since when it has carried nothing, as look saw it; zero if it carries
	leaves bool          // the pool drains it
	silent bool          // its peer did not answer, as watch saw it
	open   unanswered
}

// usable says whether streams can be opened in it.
func (m *member) usable() bool {
	_, usable := m.look()
	return usable
}

// look is Info, and whether it is usable.
func (m *member) look() (i Info, usable bool) {
	select {
	case <-m.Done():
		return i, false
	default:
	}
	if m.leaves {
		return i, false
	}
	i = m.Info()
	return i, !i.Draining
}

// NewPool makes a pool without peers. Run makes it work.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 10 * time.Second
	}
	if cfg.Chose == nil {
		cfg.Chose = func(string, Class, Choice) {}
	}
	if cfg.Moved == nil {
		cfg.Moved = func(string, Class) {}
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Pool{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		started: make(chan struct{}),
		watched: watched{wake: make(chan struct{}, 1)},
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
			old = &peer{ways: map[way]*dialling{}, path: path{only: p.only()}}
		}
		if old.Address != fresh.Address {
			old.forgive() // what failed was another address
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

// only is the carrier if there is but one.
func (p *Pool) only() string {
	if len(p.cfg.Dialers) == 1 {
		for carrier := range p.cfg.Dialers {
			return carrier
		}
	}
	return ""
}

// Add takes over a tunnel that a peer dialled. The pool closes it in the end,
// and at once if the peer has too many.
func (p *Pool) Add(t Tunnel) {
	p.mu.Lock()
	wanted := p.add(t)
	p.mu.Unlock()
	if !wanted {
		t.Close() // its peer may dial again
	}
}

// add keeps a tunnel, unless the pool stops or its peer has too many. The
// caller holds mu.
func (p *Pool) add(t Tunnel) bool {
	m := &member{Tunnel: t, id: t.Info().Peer, since: time.Now()}
	if p.run != nil && p.run.stopping {
		return false
	}
	if p.count(m.id) >= maxTunnels || p.countAll(m.id) >= maxTunnels+maxDraining {
		p.cfg.Log.Warn("peer has too many tunnels", zap.Stringer("peer", m.id), zap.Int("limit", maxTunnels))
		return false
	}
	m.number = p.added.Add(1)
	p.members = append(p.members, m)
	if p.retired {
		p.turnAway(m)
	}
	if p.run != nil {
		p.run.serve(m)
	}
	p.broadcast()
	return true
}

// count counts a peer's tunnels that can be used. The caller holds mu.
func (p *Pool) count(id spiffeid.ID) int {
	n := 0
	for _, m := range p.members {
		if m.id == id && m.usable() {
			n++
		}
	}
	return n
}

// countAll counts all tunnels of a peer. The caller holds mu.
func (p *Pool) countAll(id spiffeid.ID) int {
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
	p.broadcast()
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
