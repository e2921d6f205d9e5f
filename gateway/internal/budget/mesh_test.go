package budget

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

// environment is several gateways with one limit, and what passes between them. It knows
// what was really let in.
type environment struct {
	*rapid.T

	limit    limits.Limit
	now      time.Time
	gateways []*process
	memory   int             // of the control plane: another one after each restart of it
	told     map[string]use  // what it remembers, by gateway
	complete map[string]bool // who has told it all
	call     int64           // the most that one has wanted
	lost     int64           // what crashes took out of the ledgers, and more was settled than reserved
}

// use is what a process of a gateway has told.
type use struct {
	run int
	use Use
}

// process is a gateway, and after a restart another one.
type process struct {
	name    string
	ledger  *Ledger
	run     int
	open    []*call
	settled int64 // of the window that is now
	saved   []entry
	memory  int // of the control plane, that it heard last
	talk    *exchange
}

// call is one that goes on.
type call struct {
	*Reservation

	wanted  int64 // in the window that is now
	earlier int64 // in those that are over
}

// exchange is one that is under way.
type exchange struct {
	memory   int // that it is for
	telling  *Telling
	answered bool
	by       int // the memory that answered
	uses     []Use
	whole    bool
}

func newEnvironment(t *rapid.T, limit limits.Limit) *environment {
	e := &environment{T: t, limit: limit, now: noon(), memory: 1}
	e.forget()
	for i := range rapid.IntRange(1, 4).Draw(t, "gateways") {
		e.gateways = append(e.gateways, &process{name: fmt.Sprint("g", i)})
		e.begin(e.gateways[i])
	}
	return e
}

func (e *environment) forget() { e.told, e.complete = map[string]use{}, map[string]bool{} }

func (e *environment) n() int64 { return int64(len(e.gateways)) }

// begin is a process that takes up what was saved.
func (e *environment) begin(g *process) {
	g.ledger, g.talk, g.memory, g.run, g.open = New(), nil, 0, g.run+1, nil
	if len(e.gateways) > 0 {
		for _, each := range e.gateways {
			each.ledger.SetGateways(max(len(e.gateways), 1))
		}
	}
	g.ledger.restore(g.saved, e.now)
}

// used is what a gateway has really let in: what a process that is gone had reserved
// counts as used.
func (g *process) used() int64 {
	total := g.settled
	for _, c := range g.open {
		total += c.wanted
	}
	return total
}

// bound is the most that may be let in.
func (e *environment) bound() int64 {
	n := e.n()
	if e.limit.Window < shared {
		return n*max(e.limit.Most/n, e.call) + e.lost
	}
	return e.limit.Most + (n-1)*max(e.limit.Most/n, e.call) + e.lost
}

func (e *environment) check() {
	e.Helper()
	total := int64(0)
	for _, g := range e.gateways {
		total += g.used()
	}
	if total > e.bound() {
		e.Fatalf("%d are let in of %s, at most %d may be", total, e.limit, e.bound())
	}
}

func (e *environment) pick() *process {
	return e.gateways[rapid.IntRange(0, len(e.gateways)-1).Draw(e.T, "gateway")]
}

func (e *environment) reserve(g *process) {
	want := rapid.Int64Range(1, max(e.limit.Most/2, 1)).Draw(e.T, "want")
	r, refused := g.ledger.Reserve(alice, plan, []limits.Limit{e.limit}, Amounts{Requests: want, Bytes: want}, e.now)
	if refused == nil {
		g.open = append(g.open, &call{&r, want, 0})
		e.call = max(e.call, want)
	}
}

// settle ends a call, seldom with more than was reserved for it.
func (e *environment) settle(g *process) {
	if len(g.open) == 0 {
		return
	}
	i := rapid.IntRange(0, len(g.open)-1).Draw(e.T, "call")
	c := g.open[i]
	actual := rapid.Int64Range(0, c.wanted).Draw(e.T, "actual")
	if rapid.IntRange(0, 9).Draw(e.T, "more") == 0 {
		actual = c.wanted + rapid.Int64Range(0, 20).Draw(e.T, "by")
		e.lost += actual - c.wanted
	}
	c.Settle(Amounts{Requests: actual, Bytes: c.earlier + actual})
	g.settled += actual
	g.open = slices.Delete(g.open, i, i+1)
}

// take is a call that goes on, in the window that is now.
func (e *environment) take(g *process) {
	if len(g.open) == 0 || e.limit.What != limits.Bytes {
		return
	}
	c := g.open[rapid.IntRange(0, len(g.open)-1).Draw(e.T, "call")]
	want := rapid.Int64Range(1, max(e.limit.Most/4, 1)).Draw(e.T, "want")
	waited := rapid.SampledFrom([]time.Duration{0, LongestWait}).Draw(e.T, "waited")
	grant, refused := c.Take(want, waited, e.now)
	if gave := grant.Bytes > 0; gave == (grant.Wait > 0 || refused != nil) {
		e.Fatalf("%+v, %v", grant, refused)
	}
	c.wanted += grant.Bytes
	e.call = max(e.call, grant.Bytes)
}

// tell, arrive, hear and lose are the steps of an exchange.
func (e *environment) tell(g *process) {
	if g.talk == nil {
		g.talk = &exchange{memory: g.memory, telling: g.ledger.Tell(10, e.now)}
	}
}

// arrive is what the control plane does with what it is told.
func (e *environment) arrive(g *process) {
	x := g.talk
	if x == nil || x.answered {
		return
	}
	for _, u := range x.telling.Uses {
		e.told[g.name] = use{g.run, u}
	}
	if x.memory == e.memory && x.telling.Complete {
		e.complete[g.name] = true
	}
	x.answered, x.by, x.whole = true, e.memory, true
	for _, name := range slices.Sorted(maps.Keys(e.told)) {
		u := e.told[name].use
		if u.Gateway = name; name == g.name {
			u.Gateway = "" // an earlier run's
		}
		if name != g.name || e.told[name].run != g.run {
			x.uses = append(x.uses, u)
		}
	}
	for _, other := range e.gateways {
		if other != g && !e.complete[other.name] {
			x.whole = false
		}
	}
}

func (e *environment) hear(g *process) {
	x := g.talk
	if x == nil || !x.answered {
		return
	}
	g.talk = nil
	g.ledger.Heard(x.telling, x.uses, x.whole && x.by == x.memory, e.now)
	if g.memory != 0 && g.memory != x.by {
		g.ledger.TellAll()
	}
	g.memory = x.by
}

func (e *environment) lose(g *process) {
	if g.talk != nil {
		g.ledger.Unheard(g.talk.telling)
		g.talk = nil
	}
}

// restart is one that keeps what was used, crash is one that does not.
func (e *environment) restart(g *process) {
	g.saved, _ = g.ledger.snapshot(e.now)
	if g.settled = g.used(); e.limit.Window < shared {
		e.lost += g.settled
	}
	e.complete[g.name] = false
	e.begin(g)
}

func (e *environment) crash(g *process) {
	knew := int64(0)
	for _, s := range g.saved {
		if s.Gateway == "" && s.Start == startOf(e.now, s.Window) {
			knew = s.Used
		}
	}
	e.lost += max(g.used()-knew, 0) + e.limit.Most/e.n()
	g.settled = g.used()
	e.complete[g.name] = false
	e.begin(g)
}

func (e *environment) nextWindow() {
	e.now = e.now.Add(e.limit.Window)
	for _, g := range e.gateways {
		if g.settled = 0; e.limit.What != limits.Bytes {
			g.open = nil
		}
		for _, c := range g.open {
			c.wanted, c.earlier = 0, c.earlier+c.wanted
		}
	}
	e.call, e.lost = 0, 0
}

// TestNeverMoreThanStated: whatever order calls, tellings, losses, restarts and windows
// come in, no more is let in than the package comment says.
func TestNeverMoreThanStated(t *testing.T) {
	law := func(rt *rapid.T) {
		text := rapid.SampledFrom([]string{"%d/minute", "%d/hour", "%d/day", "%d/second"}).Draw(rt, "window")
		what := rapid.SampledFrom([]string{"requests: ", "bytes: "}).Draw(rt, "what")
		limit := parsed(t, what+fmt.Sprintf(text, rapid.Int64Range(1, 1000).Draw(rt, "most")))[0]
		e := newEnvironment(rt, limit)
		e.begin(e.gateways[0])
		steps := []func(*process){
			e.reserve, e.reserve, e.reserve, e.reserve, e.take, e.take, e.settle, e.settle, e.tell, e.tell, e.arrive, e.arrive, e.hear, e.hear, e.lose,
			func(g *process) { e.tell(g); e.arrive(g); e.hear(g) },
			func(g *process) { g.saved, _ = g.ledger.snapshot(e.now) },
			func(g *process) { g.ledger.Sweep(e.now) },
		}
		rare := []func(*process){
			e.restart, e.crash,
			func(*process) { e.memory++; e.forget() }, // the control plane is started again
			func(*process) { e.nextWindow() },
		}
		for range rapid.IntRange(10, 150).Draw(rt, "steps") {
			if rapid.IntRange(0, 19).Draw(rt, "rare") == 0 {
				rare[rapid.IntRange(0, len(rare)-1).Draw(rt, "what")](e.pick())
			} else {
				steps[rapid.IntRange(0, len(steps)-1).Draw(rt, "step")](e.pick())
			}
			e.check()
		}
	}
	for range 10 { // what breaks it takes some hundred tries
		rapid.Check(t, law)
	}
}
