package simulation

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
)

// settling is how long after the last fault everything has to have come right.
const settling = 100 * time.Second

// pair is a way from one gateway to another.
type pair struct{ from, to *gateway }

// world is everything that a schedule is about.
type world struct {
	*plan
	t        *testing.T
	verbose  bool
	gateways []*gateway
	control  *control
	source   *certs.Source // of the control plane
	links    map[pair]*link
	began    time.Time
	stopped  time.Time // when the last fault was over

	busy sync.WaitGroup // crossings, faults, and headers that come later

	mu      sync.Mutex // guards what follows
	streams map[*stream][]*process
	crossed []*crossed
	over    map[*planned]time.Time // when they last ended at an ingress gateway
}

func newWorld(t *testing.T, p *plan, verbose bool) *world {
	w := &world{plan: p, t: t, verbose: verbose, links: map[pair]*link{}, over: map[*planned]time.Time{}}
	names := []string{"a", "b", "c"}[:p.gateways]
	tds := []string{"mesh.test"}
	for _, n := range names {
		tds = append(tds, n+".test")
	}
	mesh := certstest.Mesh(t, tds...)
	for _, d := range mesh {
		d.TTL = 12 * time.Hour
	}
	w.source = mesh["mesh.test"].Source("/sallyport/controlplane/view")
	for i, n := range names {
		d := mesh[n+".test"]
		path := "/sallyport/gateway/" + n
		w.gateways = append(w.gateways, &gateway{
			world: w, name: n, id: d.ID(path), source: d.Source(path), room: p.room, disk: disktest.NewMemory(), clock: p.clocks[i], mistold: map[string]int{},
		})
	}
	for i, from := range w.gateways {
		for j, to := range w.gateways {
			way := [2]int{i, j}
			w.links[pair{from, to}] = &link{latency: p.latency, said: said{harms: p.said[way], turnHarms: p.turns[way]}, random: rand.New(rand.NewPCG(p.seed, uint64(i*8+j)))}
		}
	}
	w.control = newControl(w)
	return w
}

func (w *world) log(name string) *zap.Logger {
	if !w.verbose {
		return nil
	}
	return zaptest.NewLogger(w.t).Named(name)
}

func (w *world) byID(id spiffeid.ID) *gateway {
	for _, g := range w.gateways {
		if g.id == id {
			return g
		}
	}
	return nil
}

func (w *world) indexOf(g *gateway) int {
	for i, other := range w.gateways {
		if other == g {
			return i
		}
	}
	return -1
}

func (w *world) peersOf(g *gateway) (ids []spiffeid.ID) {
	for _, other := range w.gateways {
		if other != g {
			ids = append(ids, other.id)
		}
	}
	return ids
}

// plannedOf is the crossing that a header is of.
func (w *world) plannedOf(index string) *planned {
	i, err := strconv.Atoi(index)
	if err != nil || i >= len(w.crossings) {
		return nil
	}
	return w.crossings[i]
}

// after does something later, before everything settles.
func (w *world) after(d time.Duration, f func()) {
	w.busy.Go(func() {
		pass(d)
		f()
	})
}

// run runs the schedule to its end, and says what is wrong then.
func (w *world) run() []string {
	pass(2 * time.Hour) // certificates are good by any clock
	w.began = time.Now()
	for _, g := range w.gateways {
		if err := g.start(); err != nil {
			return []string{err.Error()}
		}
	}
	pass(500 * time.Millisecond)
	for _, c := range w.crossings {
		w.after(c.at, func() { w.cross(c) })
	}
	for _, f := range w.faults {
		w.after(f.at, func() { w.strike(f) })
	}
	w.busy.Wait()
	for _, l := range w.links {
		l.heal()
	}
	w.stopped = time.Now()
	pass(settling)
	wrong := w.judgeRunning()
	w.finish()
	wrong = append(wrong, w.judge()...)
	w.lose(func([]*process) bool { return true })
	synctest.Wait()
	return wrong
}

// cross lets one crossing happen, if its gateway is there.
func (w *world) cross(c *planned) {
	p := w.gateways[c.from].process()
	if p == nil {
		return
	}
	x := p.send(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.crossed = append(w.crossed, x)
}

// isOver takes note that a crossing has ended at an ingress gateway.
func (w *world) isOver(c *planned) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over[c] = time.Now()
}

// finish ends all gateways in order, with their last words.
func (w *world) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var parts sync.WaitGroup
	for _, g := range w.gateways {
		if p := g.process(); p != nil {
			parts.Go(func() { p.keeper.Finish(ctx) })
		}
	}
	parts.Wait()
	pass(3 * time.Second)
	for _, g := range w.gateways {
		if p := g.process(); p != nil {
			g.stop(p)
		}
	}
}

// strike lets a fault happen, and be over.
func (w *world) strike(f *fault) {
	g := w.gateways[f.of]
	f.began = time.Now()
	switch f.blow {
	case killed, powerCut, putBack:
		w.crash(f, g)
	case cutOff, muted:
		w.part(f, g, w.gateways[f.other])
	case diskFull:
		if p := g.process(); p != nil {
			p.disk.full.Store(true)
			pass(f.last)
			p.disk.full.Store(false)
		}
	case away:
		w.control.leave(true)
		pass(f.last)
		w.control.leave(false)
	case forked:
		w.fork(f, g, w.gateways[f.other])
	}
	f.ended = time.Now()
}

// crash kills a gateway and starts it again.
func (w *world) crash(f *fault, g *gateway) {
	p := g.process()
	if p == nil || !g.dying.CompareAndSwap(false, true) {
		return // it is down, or goes down
	}
	defer g.dying.Store(false)
	var by *disktest.Memory
	if f.blow == putBack {
		by = p.disk.Cut(disktest.Everything)
		pass(f.before)
	}
	random := rand.New(rand.NewPCG(w.seed, uint64(f.at)))
	choice := disktest.Everything
	if f.blow == powerCut {
		choice = random.IntN
	}
	g.kill(p, f.calls, choice)
	g.mu.Lock()
	if by != nil {
		g.disk = by
	}
	if f.clock != 0 {
		g.clock = f.clock
	}
	g.mu.Unlock()
	pass(f.last)
	if err := g.start(); err != nil {
		w.t.Errorf("seed %d: %v", w.seed, err)
	}
}

// part takes away the ways between two gateways for a while, or one way.
func (w *world) part(f *fault, a, b *gateway) {
	there, back := w.links[pair{a, b}], w.links[pair{b, a}]
	if f.blow == muted {
		there.cut(false, true)
	} else {
		there.cut(true, false)
		back.cut(true, false)
		w.lose(func(between []*process) bool {
			return between[0].gateway == a && between[1].gateway == b || between[0].gateway == b && between[1].gateway == a
		})
	}
	pass(f.last)
	there.cut(false, false)
	if f.blow == cutOff {
		back.cut(false, false)
	}
}

// pass lets virtual time go by.
func pass(d time.Duration) { <-time.After(d) }
