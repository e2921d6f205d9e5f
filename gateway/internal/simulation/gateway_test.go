package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/epochs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// spoolDir is where a gateway's disk has its spool.
const spoolDir = "/spool"

// standing is the policy that all gateways have in force.
var standing = policy.Ref{Serial: 7, Revision: "sha256:" + strings.Repeat("07", 32)}

// gateway is one gateway: its disk, and a process while one runs.
type gateway struct {
	world  *world
	name   string
	id     spiffeid.ID
	source *certs.Source
	room   int64       // in its spool, in bytes
	dying  atomic.Bool // a fault is about to kill its process, and to start another

	mu      sync.Mutex // guards what follows
	running *process   // nil while none runs
	disk    *disktest.Memory
	clock   time.Duration // how far its clock is ahead
	mistold map[string]int
	runs    []run
}

// run is when a process began, and how far its clock was ahead.
type run struct {
	began time.Time
	clock time.Duration
}

// process is one run of a gateway, from its start to its end, or until it is killed.
type process struct {
	*gateway
	disk     *mortal
	keeper   *epochs.Keeper
	recorder *recorder.Recorder
	numbers  *numbers
	clock    time.Duration
	ctx      context.Context // ends with the process
	cancel   context.CancelFunc
	parts    sync.WaitGroup
}

// process is the one that runs; nil if none does.
func (g *gateway) process() *process {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running == nil || g.running.gone() {
		return nil
	}
	return g.running
}

// start begins a process, which finds what earlier ones have left on disk.
func (g *gateway) start() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &process{gateway: g, disk: mount(g.disk), numbers: newNumbers(), clock: g.clock}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.keeper = epochs.New(epochs.Config{
		Self: g.id, Source: g.source, Peers: p, Policy: func() policy.Ref { return standing }, Meter: (*meter)(g), Now: p.now, Log: g.world.log(g.name),
	})
	var err error
	p.recorder, err = recorder.New(recorder.Config{
		System: p.disk, Dir: spoolDir, Gateway: g.id, MaxBytes: g.room, Connect: p.connect, Books: p.keeper, Log: g.world.log(g.name),
	})
	if err != nil {
		return fmt.Errorf("%s does not start: %w", g.name, err)
	}
	p.keeper.Bind(p.recorder)
	p.keeper.SetPeers(g.world.peersOf(g))
	p.serving(func() { p.keeper.Run(p.ctx) })
	p.serving(func() { p.recorder.Run(p.ctx) })
	g.running = p
	g.runs = append(g.runs, run{time.Now(), p.clock})
	return nil
}

// connect gives the control plane.
func (p *process) connect(context.Context) (controlv1.CrossingServiceClient, error) {
	return p.world.control.client(p)
}

// serving does something in the process.
func (p *process) serving(f func()) { p.parts.Go(f) }

// gone says that the process was killed.
func (p *process) gone() bool { return p.disk.dead.Load() }

// info is what it knows of a tunnel to another gateway: the clocks' difference too.
func (p *process) info(peer *gateway) tunnel.Info {
	return tunnel.Info{Peer: peer.id, ClockOffset: peer.ahead() - p.clock, Carrier: "TCP", TLS: "TLS 1.3 X25519MLKEM768"}
}

func (g *gateway) ahead() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running != nil {
		return g.running.clock
	}
	return g.clock
}

// now is its clock.
func (p *process) now() time.Time { return time.Now().Add(p.clock) }

// end is the end of a process that was killed: what is on its disk is what the next one
// finds there.
func (g *gateway) end(p *process, left *disktest.Memory) {
	p.cancel()
	p.world.lose(func(between []*process) bool { return slices.Contains(between, p) })
	p.parts.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running, g.disk = nil, left
}

// kill kills the process after it has changed its disk so often, or soon: cut says what
// of its disk is left then. It returns when the process is no more.
func (g *gateway) kill(p *process, calls int, cut disktest.Choice) {
	var left *disktest.Memory
	dead := make(chan struct{})
	kill := func() {
		if p.disk.dead.CompareAndSwap(false, true) {
			left = p.disk.Cut(cut)
			close(dead)
		}
	}
	p.disk.after(calls, kill)
	select {
	case <-dead:
	case <-time.After(2 * time.Second):
		kill()
		<-dead
	}
	g.end(p, left)
}

// stop ends a process in order.
func (g *gateway) stop(p *process) {
	p.cancel()
	p.parts.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = nil
}

// left are the files on the gateway's disk, but for those that are there for good.
func (g *gateway) left() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	entries, err := g.disk.List(spoolDir)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		if e.Dir {
			names = append(names, e.Name)
		}
	}
	return names
}

// meter counts what a gateway's keeper refuses.
type meter gateway

// Stated implements epochs.Meter.
func (*meter) Stated(crossingv1.Side, bool) {}

// Differed implements epochs.Meter.
func (*meter) Differed(crossingv1.Difference_Kind, int) {}

// Mistold implements epochs.Meter.
func (m *meter) Mistold(reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mistold[reason]++
}

// refused is what the keeper has refused, by reason.
func (g *gateway) refused() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(g.mistold)) {
		all = append(all, fmt.Sprintf("%s: %d", reason, g.mistold[reason]))
	}
	return strings.Join(all, ", ")
}
