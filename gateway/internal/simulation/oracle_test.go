package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// oracle says what is wrong after a schedule.
type oracle struct {
	*world
	control *control
	names   names
	at      map[place][]*crossed // what really happened, by number
	wrong   []string
}

func (o *oracle) fault(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

// judgeRunning says what is wrong while everything runs: nothing may wait any more. A
// heartbeat may be on its way just now.
func (w *world) judgeRunning() (wrong []string) {
	for range 20 {
		if wrong = w.waiting(); len(wrong) == 0 {
			return nil
		}
		pass(100 * time.Millisecond)
	}
	return wrong
}

// waiting says what waits.
func (w *world) waiting() []string {
	o := &oracle{world: w}
	for _, g := range w.gateways {
		p := g.process()
		if p == nil {
			o.fault("%s does not run", g.name)
			continue
		}
		if n := p.recorder.Pending(); n > 0 {
			o.fault("%s: %d bytes wait for the control plane", g.name, n)
		}
		if n := p.keeper.Silent(); n > 0 {
			o.fault("%s: %d chains are silent", g.name, n)
		}
		for _, s := range p.keeper.Chains() {
			// What an ingress gateway that was put back has taken a second time waits for the
			// next claim, or the last.
			again := s.GetSide() == crossingv1.Side_INGRESS && len(o.putBacks(g.id.String())) > 0
			if len(s.GetOpen()) > 0 && !again {
				o.fault("%s: %s chain %s: %d numbers from %v are open", g.name, s.GetSide(), s.GetChain(), len(s.GetOpen()), s.GetOpen()[0])
			}
		}
	}
	return o.wrong
}

// judge says what is wrong when everything has ended.
func (w *world) judge() []string {
	w.control.mu.Lock()
	defer w.control.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	o := &oracle{world: w, control: w.control, names: w.control.collect(), at: map[place][]*crossed{}}
	for _, x := range w.crossed {
		at := place{x.chain, x.number}
		o.at[at] = append(o.at[at], x)
		if x.plan.harm == otherNumber && x.touched {
			at.number += 1 + w.seed%3
			o.at[at] = append(o.at[at], x)
		}
		if x.plan.harm == otherRun && x.touched {
			at.chain.Run = strayRun(at.chain.Run)
			o.at[at] = append(o.at[at], x)
		}
	}
	for _, g := range w.gateways {
		if left := g.left(); len(left) > 0 {
			o.fault("%s: the spool is not empty: %v", g.name, left)
		}
	}
	o.judgeCrossings()
	o.judgeRecords()
	o.judgeNames()
	o.judgeChains()
	o.judgeFindings()
	o.judgeLies()
	o.judgePromptness()
	return o.wrong
}

// putBacks are the times that a gateway's spool was put back.
func (o *oracle) putBacks(gateway string) []*fault {
	return slices.DeleteFunc(slices.Clone(o.faults), func(f *fault) bool {
		return f.blow != putBack || f.began.IsZero() || o.gateways[f.of].id.String() != gateway
	})
}

// disturbed says that a blow, or one of those, was at one of the gateways, or at the way
// between them, in that time.
func (o *oracle) disturbed(c statement.Chain, from, to time.Time, blows ...blow) bool {
	return slices.ContainsFunc(o.faults, func(f *fault) bool {
		return (len(blows) == 0 || slices.Contains(blows, f.blow)) && o.touches(f, c, from, to)
	})
}

// touches says that a fault was at one of the gateways, or at the way between them, in
// that time.
func (o *oracle) touches(f *fault, c statement.Chain, from, to time.Time) bool {
	if f.began.IsZero() || f.began.After(to) || f.ended.Before(from) {
		return false
	}
	of, other := o.gateways[f.of].id.String(), o.gateways[f.other].id.String()
	switch f.blow {
	case cutOff, muted:
		return of == c.Egress && other == c.Ingress || of == c.Ingress && other == c.Egress
	case away, forked:
		return false
	}
	return of == c.Egress || of == c.Ingress
}

// around is the time in which a blow may have touched a crossing: its own, and until it was stated.
func (x *crossed) around(f func(from, to time.Time) bool) bool {
	ended := x.ended
	if ended.IsZero() {
		ended = x.opened
	}
	return f(x.opened.Add(-time.Second), ended.Add(30*time.Second))
}

// shaken says that a blow may have touched a crossing.
func (o *oracle) shaken(x *crossed, blows ...blow) bool {
	return x.around(func(from, to time.Time) bool { return o.disturbed(x.chain, from, to, blows...) })
}

// state is the state of a crossing's record; 0 if there is none.
func (o *oracle) state(x *crossed) (crossingv1.Record_State, []string) {
	a := o.control.records[handle{x.id, x.chain.Egress, x.chain.Ingress}]
	if a == nil {
		return 0, nil
	}
	return join(a)
}

func join(a *account) (crossingv1.Record_State, []string) {
	var sides [2]*crossing.Account
	for side := range a.sides {
		if a.sides[side].Open != nil || a.sides[side].Close != nil {
			sides[side] = &a.sides[side]
		}
	}
	r := crossing.Join(sides[0], sides[1])
	return r.GetState(), r.GetDifferences()
}

func (x *crossed) String() string {
	return fmt.Sprintf("crossing %d (%s, number %d of %.8s, %s>%s)", x.plan.index, x.plan.harm, x.number, x.chain.Run, short(x.chain.Egress), short(x.chain.Ingress))
}

func short(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// judgeCrossings: what a caller had an answer for has its record, and all that is not as
// it should be is named.
func (o *oracle) judgeCrossings() {
	for _, x := range o.crossed {
		at := place{x.chain, x.number}
		state, fields := o.state(x)
		switch {
		case state == 0 && x.answered && !o.forgiven(x):
			o.fault("%s: a caller had its answer, and there is no record", x)
		case state == 0 && x.recorded && x.plan.durable && !o.forgiven(x):
			o.fault("%s: it was recorded durably, and there is no record", x)
		case state == 0 || complete(state):
		case !o.named(at) && !o.halfNamed(x) && !o.undone(x):
			o.fault("%s: its record is %s %v, and nobody names it", x, state, fields)
		}
		for _, kinds := range must[x.plan.harm] {
			if x.touched && !o.shaken(x) && o.reached(x) && !o.unproven(x.chain) && !o.names.has(at, append(kinds, alone)...) {
				o.fault("%s: want it named as %v, have %v", x, kinds, o.names[at])
			}
		}
	}
}

// halfNamed says that a half of its record is named by the number that it has there.
func (o *oracle) halfNamed(x *crossed) bool {
	a := o.control.records[handle{x.id, x.chain.Egress, x.chain.Ingress}]
	for side, n := range a.n {
		if n > 0 && o.named(place{a.chain[side], n}) {
			return true
		}
	}
	return false
}

// undone says that the egress gateway's spool was put back to before it had ended, and
// the other one's too, or they could not talk when that would have shown: the chain is
// named for it then, and not the number.
func (o *oracle) undone(x *crossed) bool {
	back := func(gateway string) bool {
		return slices.ContainsFunc(o.putBacks(gateway), func(f *fault) bool {
			return (x.ended.IsZero() || f.began.Before(x.ended)) && !x.opened.After(f.ended)
		})
	}
	apart := o.disturbed(x.chain, o.began, o.stopped, cutOff, muted)
	return back(x.chain.Egress) && (back(x.chain.Ingress) || apart) && slices.ContainsFunc(o.control.findings, func(f finding) bool {
		return f.chain == x.chain && (f.fault == statement.Forked || f.fault == statement.Resumed || f.fault == statement.Forgot)
	})
}

func complete(s crossingv1.Record_State) bool {
	return s == crossingv1.Record_JOINED || s == crossingv1.Record_DENIED || s == crossingv1.Record_REFUSED
}

// forgiven says that a record may be gone: all that there was of it was put back, or cut
// off at both ends before it was durable, or dropped on its way.
func (o *oracle) forgiven(x *crossed) bool {
	if o.names.has(place{x.chain, x.number}, missing) || o.harmedRecords(x.chain.Egress) || o.harmedRecords(x.chain.Ingress) {
		return true
	}
	return o.shaken(x, putBack) || !x.plan.durable && o.shaken(x, powerCut)
}

func (o *oracle) harmedRecords(gateway string) bool {
	for i, g := range o.gateways {
		if g.id.String() == gateway && len(o.delivered[i]) > 0 {
			return true
		}
	}
	return false
}

// must is how each harm has to be named, one of each list.
var must = map[harmed][][]string{
	lost:             {{"UNSEEN"}},
	otherID:          {{"OPENED_OTHERWISE"}},
	noID:             {{"UNSEEN"}},
	otherSource:      {{"OPENED_OTHERWISE"}},
	otherDestination: {{"OPENED_OTHERWISE"}},
	otherTrace:       {{"OPENED_OTHERWISE"}},
	farNumber:        {{"UNSEEN"}},
	noNumber:         {{"UNSEEN"}},
	otherRun:         {{"UNSEEN"}},
	hidden:           {{"UNOPENED"}},
	reused:           {{"REUSED"}},
	padded:           {{"ENDED_OTHERWISE"}},
}

// reached says that the harm could show: the crossing was let out and in, and went on to
// its end where that is what was harmed.
func (o *oracle) reached(x *crossed) bool {
	if x.plan.denied || x.plan.leaves > 0 || o.poisoned(x) || len(o.at[place{x.chain, x.number}]) > 1 {
		return false
	}
	return x.recorded || x.plan.harm == hidden
}

// unproven says that a chain has a statement of a key whose announcement did not come.
func (o *oracle) unproven(c statement.Chain) bool {
	return slices.ContainsFunc(o.control.unproven, func(h held) bool { return h.stated.Chain == c })
}

// poisoned says that a number before was so far ahead that the ingress gateway takes no
// other any more.
func (o *oracle) poisoned(x *crossed) bool {
	return slices.ContainsFunc(o.crossed, func(other *crossed) bool {
		return other.chain == x.chain && other.plan.harm == farNumber && other.touched && other != x
	})
}

// may is which kinds of differences each harm explains.
var may = map[harmed][]string{
	lost:             {"UNSEEN"},
	late:             {"UNSEEN", "BROKEN_OFF"},
	otherID:          {"OPENED_OTHERWISE", "ENDED_OTHERWISE"},
	noID:             {"UNSEEN"},
	otherSource:      {"OPENED_OTHERWISE"},
	otherDestination: {"OPENED_OTHERWISE"},
	otherTrace:       {"OPENED_OTHERWISE"},
	otherNumber:      {"UNSEEN", "REUSED", "UNOPENED", "OPENED_OTHERWISE", "ENDED_OTHERWISE", "BROKEN_OFF", "UNENDED", "CONFLICT", strange},
	farNumber:        {"UNSEEN"},
	noNumber:         {"UNSEEN"},
	otherRun:         {"UNSEEN", "UNOPENED", strange},
	padded:           {"ENDED_OTHERWISE"},
	hidden:           {"UNOPENED"},
	reused:           {"REUSED", "OPENED_OTHERWISE", "ENDED_OTHERWISE"}, // the other one may be the first to come
}

// judgeNames: nothing is named that was not so.
func (o *oracle) judgeNames() {
	for at, all := range o.names {
		for _, n := range all {
			if !o.explained(at, n.what) {
				o.fault("number %d of %.8s %s>%s is named as %s: nothing was done to it %v",
					at.number, at.chain.Run, short(at.chain.Egress), short(at.chain.Ingress), n, o.at[at])
			}
		}
	}
}

// explained says that something that was done explains why a number is named so.
func (o *oracle) explained(at place, what string) bool {
	switch what {
	case missing, altered, unproven, strange, "CONFLICT":
		if o.harmedRecords(at.chain.Egress) || o.harmedRecords(at.chain.Ingress) || o.disturbed(at.chain, o.began, o.stopped, putBack) {
			return true
		}
	case alone:
		return o.disturbed(at.chain, o.began, o.stopped) || o.harmedTalk(at.chain) || o.harmedRecords(at.chain.Egress) || o.harmedRecords(at.chain.Ingress)
	case crossingv1.Difference_UNCLAIMED.String(), crossingv1.Difference_UNCLAIMED_END.String():
		if o.names.has(at, alone) {
			return true
		}
	}
	if (what == "OPENED_OTHERWISE" || what == "ENDED_OTHERWISE") && o.misled(at.chain) {
		return true
	}
	if len(o.at[at]) == 0 {
		return o.disturbed(at.chain, o.began, o.stopped)
	}
	return slices.ContainsFunc(o.at[at], func(x *crossed) bool {
		switch {
		case slices.Contains(may[x.plan.harm], what) && x.touched:
			return true
		case what == "DENIED" && x.plan.denied, what == "BROKEN_OFF" && (x.plan.leaves > 0 || x.ended.Sub(x.opened) >= patience):
			return true
		case what == "UNSEEN" && (x.plan.leaves > 0 && x.plan.leaves <= o.latency || o.poisoned(x)):
			return true
		}
		return o.shaken(x)
	})
}

// misled says that what the egress gateway told of its frames, or what it was asked, was
// changed on its way, which tunnels keep from being done. That it came twice or in
// another's place explains nothing.
func (o *oracle) misled(c statement.Chain) bool {
	for way, l := range o.links {
		asked, told := l.changed()
		from, to := way.from.id.String(), way.to.id.String()
		if told && from == c.Egress && to == c.Ingress || asked && from == c.Ingress && to == c.Egress {
			return true
		}
	}
	return false
}

func (o *oracle) harmedTalk(c statement.Chain) bool {
	for way := range o.said {
		from, to := o.gateways[way[0]].id.String(), o.gateways[way[1]].id.String()
		if from == c.Egress && to == c.Ingress || from == c.Ingress && to == c.Egress {
			return true
		}
	}
	return false
}

// judgeRecords: a record that lacks what the egress gateway opened it with is named.
func (o *oracle) judgeRecords() {
	for h, a := range o.control.records {
		state, fields := join(a)
		if complete(state) || a.sides[0].Open != nil {
			continue
		}
		side := 0
		if a.n[0] == 0 {
			side = 1
		}
		if at := (place{a.chain[side], a.n[side]}); !o.named(at) {
			o.fault("record %s of number %d of %.8s %s>%s is %s %v, and nobody names it: %v %v %v",
				h.id, at.number, at.chain.Run, short(at.chain.Egress), short(at.chain.Ingress), state, fields, a.n, a.sides[0].Close, a.sides[1].Close)
		}
	}
}

// named says that a number is named by statements, or by what comes of them.
func (o *oracle) named(at place) bool {
	return slices.ContainsFunc(o.names[at], func(is name) bool { return is.what != strange || o.explained(at, strange) })
}

// judgeChains: statements tile all numbers, to a final one.
func (o *oracle) judgeChains() {
	for c, k := range o.control.chains {
		disturbed := o.disturbed(c, o.began, o.stopped, putBack) || o.harmedRecords(c.Egress) || o.harmedRecords(c.Ingress)
		last := k.follower.Last()
		switch missed := k.follower.Missing(100); {
		case disturbed:
		case last == nil:
			if !slices.ContainsFunc(o.crossed, func(x *crossed) bool { return x.chain == c && x.recorded }) && len(o.at) > 0 {
				continue // a run that a harmed header has invented
			}
			o.fault("chain %.8s %s>%s has no statement", c.Run, short(c.Egress), short(c.Ingress))
		case len(missed) > 0:
			o.fault("chain %.8s %s>%s: epochs %v are missing", c.Run, short(c.Egress), short(c.Ingress), missed)
		case !last.Claim.GetFinal():
			o.fault("chain %.8s %s>%s: the last claim, epoch %d, is not final", c.Run, short(c.Egress), short(c.Ingress), last.Claim.GetEpoch())
		}
	}
	if n := len(o.control.unproven); n > 0 && !slices.ContainsFunc(o.gateways, func(g *gateway) bool { return o.harmedRecords(g.id.String()) }) {
		o.fault("%d statements are signed with keys that nobody announced", n)
	}
}

// judgeFindings: each finding is explained, and a disk that was put back is found.
func (o *oracle) judgeFindings() {
	for _, f := range o.control.findings {
		c := f.chain
		back := o.disturbed(c, o.began, o.stopped, putBack)
		switch {
		case f.fault == statement.Differs, f.what == "conflict": // by number, above
		case f.what == "rejected" && o.harmedRecords(f.gateway):
		case f.fault == statement.Missed && (o.disturbed(c, o.began, o.stopped) || o.harmedTalk(c)):
		case f.fault == statement.Forked && o.lied(c, f.epoch):
		case f.what == "chain" && back:
		default:
			o.fault("%s: nothing was done that explains it", f)
		}
	}
}
