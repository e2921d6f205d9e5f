package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// harmed is what is done to one crossing's header or bytes, or what its egress gateway
// does with its number.
type harmed int

const (
	unharmed         harmed = iota
	lost                    // the header never comes
	repeated                // it comes again later
	late                    // it comes later
	otherID                 // it comes with another crossing's id
	noID                    // it comes with an id that is none
	otherSource             // from here on it comes with something else in it
	otherDestination        //
	otherTrace              //
	otherNumber             // with a number that others have, or will
	farNumber               // with one that nobody will have
	noNumber                // without one
	otherRun                // as of a run that there is not
	padded                  // the request comes twice within the stream
	hidden                  // the egress gateway says that the number is void, and sends it
	reused                  // it sends another crossing under the same number
	allHarmed
)

var harmedNames = [allHarmed]string{
	"unharmed", "lost", "repeated", "late", "other id", "no id", "other source", "other destination", "other trace", "other number",
	"far number", "no number", "other run", "padded", "hidden", "reused",
}

func (h harmed) String() string { return harmedNames[h] }

// planned is a crossing as it is meant to be.
type planned struct {
	index             int
	at                time.Duration // after the beginning
	from, to          int           // gateways
	durable           bool
	refused           bool // at egress
	denied            bool // at ingress
	request, response int
	thinks            time.Duration // the destination, before it answers
	leaves            time.Duration // after which the caller does not wait any more; 0 for patience
	harm              harmed
	late              time.Duration
}

// blow is a fault of a whole gateway, of a way between two, or of the control plane.
type blow int

const (
	killed   blow = iota // kill -9
	powerCut             // and the disk has what it has
	putBack              // and the disk is what it was some time before
	cutOff               // two gateways have no way to one another
	muted                // what one says to the other is lost, and nobody notices
	diskFull             // nothing can be written
	away                 // the control plane is away
	forked               // a gateway signs a second claim of an epoch, or another a second answer
	allBlows
)

var blowNames = [allBlows]string{"killed", "power cut", "put back", "cut off", "muted", "disk full", "control plane away", "forked"}

func (b blow) String() string { return blowNames[b] }

// fault is one of them.
type fault struct {
	blow  blow
	at    time.Duration
	last  time.Duration // how long
	of    int           // a gateway
	other int           // another one, of cutOff and muted
	calls int           // of the disk, before it is killed
	clock time.Duration // by how much the next process's clock is ahead
	// before is how much earlier a disk was put by that is put back.
	before time.Duration
	answer bool // it is an answer that is signed a second time, by the other

	began, ended time.Time // when it really did
	lie          *lie      // what was signed twice; nil if nothing was
}

func (f *fault) String() string {
	return fmt.Sprintf("%s of %d (and %d) after %s for %s, %d calls, clock %s, put by %s before",
		f.blow, f.of, f.other, f.at, f.last, f.calls, f.clock, f.before)
}

// plan is a schedule.
type plan struct {
	seed      uint64
	gateways  int
	clocks    []time.Duration
	latency   time.Duration
	room      int64 // of a spool, in bytes
	crossings []*planned
	faults    []*fault
	said      map[[2]int]map[int]harm // of messages between gateways, by number
	turns     map[[2]int]map[int]harm // of questions and what is told to them, by their number
	delivered []map[int]harm          // of frames delivered to the control plane, by gateway and number
	unsure    []map[int]bool          // batches whose acknowledgement is lost
}

// newPlan is the schedule of a seed.
func newPlan(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, seed))
	p := &plan{seed: seed, gateways: 2 + r.IntN(2), room: 1 << 20, latency: time.Duration(1+r.IntN(60)) * time.Millisecond}
	for range p.gateways {
		p.clocks = append(p.clocks, 0)
	}
	if r.IntN(4) == 0 {
		p.clocks[0] = time.Duration(r.IntN(3)-1) * time.Hour
	}
	load := time.Duration(2+r.IntN(8)) * time.Second
	for i := range 5 + r.IntN(40) {
		p.crossings = append(p.crossings, newCrossing(r, i, p.gateways, load))
	}
	p.said, p.turns = map[[2]int]map[int]harm{}, map[[2]int]map[int]harm{}
	for range p.gateways {
		p.delivered = append(p.delivered, map[int]harm{})
		p.unsure = append(p.unsure, map[int]bool{})
	}
	if r.IntN(5) > 0 { // else nothing fails
		p.fail(r, load)
	}
	return p
}

func newCrossing(r *rand.Rand, index, gateways int, load time.Duration) *planned {
	c := &planned{
		index: index, at: time.Duration(r.Int64N(int64(load))), from: r.IntN(gateways), durable: r.IntN(3) > 0,
		request: 1 + r.IntN(900), response: 1 + r.IntN(900), thinks: time.Duration(r.IntN(400)) * time.Millisecond,
	}
	c.to = (c.from + 1 + r.IntN(gateways-1)) % gateways
	switch r.IntN(12) {
	case 0:
		c.refused = true
	case 1:
		c.denied = true
	case 2:
		c.leaves = time.Duration(1+r.IntN(500)) * time.Millisecond
	case 3:
		c.thinks = time.Duration(1000+r.IntN(3500)) * time.Millisecond
	}
	return c
}

// fail plans faults, of one sort in half of all schedules, and of any in the others.
func (p *plan) fail(r *rand.Rand, load time.Duration) {
	sorts := []func(*rand.Rand, time.Duration){p.harmCrossings, p.harmTalk, p.harmTurns, p.harmRecords, p.strike, p.strike}
	if r.IntN(2) == 0 {
		sorts[r.IntN(len(sorts))](r, load)
		return
	}
	for range 1 + r.IntN(3) {
		sorts[r.IntN(len(sorts))](r, load)
	}
}

func (p *plan) harmCrossings(r *rand.Rand, _ time.Duration) {
	for range 1 + r.IntN(6) {
		if c := p.crossings[r.IntN(len(p.crossings))]; !c.refused {
			c.harm, c.late = harmed(1+r.IntN(int(allHarmed)-1)), time.Duration(r.IntN(6000))*time.Millisecond
		}
	}
}

func (p *plan) harmTalk(r *rand.Rand, _ time.Duration) {
	for range 1 + r.IntN(8) {
		harmOne(p.said, p.way(r), 1+r.IntN(20), harm(1+r.IntN(int(harms)-1)))
	}
}

// displacing are the harms of a turn that the turn's own number shows: they end the
// exchange at once, so that so many in a row leave no claim alone.
var displacing = []harm{doubled, stale, behind, foreign}

// harmTurns harms what is said between a claim and its answer, and some crossings, so that
// there is something to say.
func (p *plan) harmTurns(r *rand.Rand, load time.Duration) {
	p.harmCrossings(r, load)
	for range 1 + r.IntN(4) {
		harmOne(p.turns, p.way(r), 1+r.IntN(8), displacing[r.IntN(len(displacing))])
	}
}

// way is one from a gateway to another.
func (p *plan) way(r *rand.Rand) [2]int {
	from := r.IntN(p.gateways)
	return [2]int{from, (from + 1 + r.IntN(p.gateways-1)) % p.gateways}
}

// harmOne plans the harm of one of the messages on a way.
func harmOne(all map[[2]int]map[int]harm, way [2]int, number int, h harm) {
	if all[way] == nil {
		all[way] = map[int]harm{}
	}
	all[way][number] = h
}

func (p *plan) harmRecords(r *rand.Rand, _ time.Duration) {
	for range 1 + r.IntN(6) {
		p.delivered[r.IntN(p.gateways)][1+r.IntN(80)] = harm(1 + r.IntN(int(severed)-1))
		p.unsure[r.IntN(p.gateways)][1+r.IntN(12)] = true
	}
}

func (p *plan) strike(r *rand.Rand, load time.Duration) {
	f := &fault{
		blow: blow(r.IntN(int(allBlows))), at: time.Duration(r.Int64N(int64(load))), last: time.Duration(100+r.IntN(8000)) * time.Millisecond,
		of: r.IntN(p.gateways), calls: 1 + r.IntN(60), before: time.Duration(100+r.IntN(4000)) * time.Millisecond,
	}
	f.other, f.answer = (f.of+1+r.IntN(p.gateways-1))%p.gateways, f.blow == forked && f.calls > 30
	switch {
	case r.IntN(3) == 0 && (f.blow == cutOff || f.blow == muted):
		f.last = time.Duration(15+r.IntN(40)) * time.Second
	case r.IntN(3) == 0 && f.blow == away:
		f.last = time.Duration(1+r.IntN(60)) * time.Minute
	}
	if r.IntN(4) == 0 {
		f.clock = time.Duration(r.IntN(3)-1) * time.Hour
	}
	p.faults = append(p.faults, f)
}

// String is the schedule for people.
func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d gateways, clocks %v, %d crossings\n", p.gateways, p.clocks, len(p.crossings))
	for _, c := range p.crossings {
		if c.harm != unharmed {
			fmt.Fprintf(&b, "  crossing %d from %d to %d after %s: %s (%s)\n", c.index, c.from, c.to, c.at, c.harm, c.late)
		}
	}
	for way, harms := range p.said {
		fmt.Fprintf(&b, "  messages from %d to %d: %v\n", way[0], way[1], harms)
	}
	for way, harms := range p.turns {
		fmt.Fprintf(&b, "  turns from %d to %d: %v\n", way[0], way[1], harms)
	}
	for g := range p.delivered {
		if len(p.delivered[g])+len(p.unsure[g]) > 0 {
			fmt.Fprintf(&b, "  records of %d: %v, acknowledgements lost of %v\n", g, p.delivered[g], p.unsure[g])
		}
	}
	for _, f := range p.faults {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	return b.String()
}
