// Package join pairs the two halves of each crossing and answers questions
// about them from memory. It keeps nothing on disk: the store replays accepted
// frames into it at start. It may be told to forget what will not change any more, and
// is kept elsewhere. The invariant: a frame that comes twice changes nothing, and one
// that contradicts an earlier frame of the same gateway changes nothing, and is refused
// unless its crossing was forgotten.
package join

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ErrConflict says that a frame contradicts one that the same gateway sent
// before.
var ErrConflict = errors.New("contradicts an earlier frame")

// Transition is an ordered pair of environments.
type Transition struct{ From, To string }

// Counts are what the policy said of crossings of a transition: an outage makes
// no denial of what was allowed.
type Counts struct {
	Allowed, Denied uint64
	// Unmatched are records that are one-sided, or whose halves disagree.
	Unmatched uint64
	// Failed were allowed, and ended by something else than their two parties.
	Failed uint64
}

// slot places a half: two crossings of one gateway never share it.
type slot struct {
	gateway, egress, ingress, run string
	sequence                      uint64
}

// handle names a record: a crossing's id and its two gateways. Ids are made by
// egress gateways, and one that used an id twice must not be able to make the
// halves of its honest peers contradict one another. Handles sort as ids.
type handle string

func handleOf(id string, k *crossingv1.Key) handle {
	return handle(id + " " + k.GetEgress() + " " + k.GetIngress())
}

// known is all that is known of one crossing.
type known struct {
	egress, ingress crossing.Account
	record          *crossingv1.Record // as joined last; never changed once there
}

// Joiner joins halves. All methods may be called concurrently.
type Joiner struct {
	mu        sync.Mutex // guards what follows
	crossings map[handle]*known
	slots     map[slot]handle // the crossing that holds it
	order     []handle        // of those with a record, by time of opening
	traces    map[string][]handle
	counts    map[Transition]Counts
	unmatched map[handle]struct{} // those that are one-sided, or disagree
	refusals  []refusal           // in the order of compare
	followers map[*Follower]struct{}
	applied   map[string]map[string]*crossingv1.Applied // by gateway and act
	outages   map[string]*crossingv1.Outage             // the last of each gateway
	past      past
}

// New makes a joiner that knows nothing.
func New() *Joiner {
	return &Joiner{
		crossings: map[handle]*known{},
		slots:     map[slot]handle{},
		traces:    map[string][]handle{},
		counts:    map[Transition]Counts{},
		unmatched: map[handle]struct{}{},
		followers: map[*Follower]struct{}{},
		applied:   map[string]map[string]*crossingv1.Applied{},
		outages:   map[string]*crossingv1.Outage{},
		past:      newPast(),
	}
}

// Add joins a frame that crossing.CheckFrame accepted. It keeps the frame, which
// must not change any more. The error wraps ErrConflict.
func (j *Joiner) Add(f *crossingv1.Frame) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case f.GetOpen() != nil:
		return j.open(f.GetGateway(), f.GetOpen())
	case f.GetClose() != nil:
		return j.close(f.GetClose())
	case f.GetProgress() != nil:
		return j.progress(f.GetProgress())
	case f.GetRefusal() != nil:
		j.refuse(f)
	case f.GetOutage() != nil:
		j.outage(f.GetGateway(), f.GetOutage())
	case f.GetApplied() != nil:
		j.apply(f)
	}
	return nil
}

func (j *Joiner) open(gateway string, h *crossingv1.Half) error {
	at, name := place(gateway, h.GetKey()), handleOf(h.GetId(), h.GetKey())
	if other, taken := j.slots[at]; taken && other != name {
		id, _, _ := strings.Cut(string(other), " ")
		return fmt.Errorf("number %d of run %s is crossing %s already: %w", at.sequence, at.run, id, ErrConflict)
	}
	if over, err := j.forgotten(name, h.GetId(), h.GetKey()); over || err != nil {
		return err
	}
	if k := j.crossings[name]; k != nil {
		a := k.account(h.GetSide())
		if a.Open != nil {
			return same(a.Open, h, "opening")
		}
		if !keyed(a, h.GetKey()) {
			return fmt.Errorf("opening of %s: another key than before: %w", h.GetId(), ErrConflict)
		}
	}
	j.slots[at] = name
	k := j.know(name)
	k.account(h.GetSide()).Open = h
	j.changed(name, k)
	return nil
}

func (j *Joiner) close(c *crossingv1.Close) error {
	name := handleOf(c.GetId(), c.GetKey())
	if over, err := j.forgotten(name, c.GetId(), c.GetKey()); over || err != nil {
		return err
	}
	if k := j.crossings[name]; k != nil {
		a := k.account(c.GetSide())
		if a.Close != nil {
			return same(a.Close, c, "end")
		}
		if !keyed(a, c.GetKey()) {
			return fmt.Errorf("end of %s: another key than before: %w", c.GetId(), ErrConflict)
		}
	}
	k := j.know(name)
	k.account(c.GetSide()).Close = c
	j.changed(name, k)
	return nil
}

// progress takes up how far a crossing has come. It may come before the opening, or
// after the end, as frames of several runs are delivered side by side.
func (j *Joiner) progress(p *crossingv1.Progress) error {
	name := handleOf(p.GetId(), p.GetKey())
	if over, err := j.forgotten(name, p.GetId(), p.GetKey()); over || err != nil {
		return err
	}
	if k := j.crossings[name]; k != nil {
		a := k.account(p.GetSide())
		if !keyed(a, p.GetKey()) {
			return fmt.Errorf("progress of %s: another key than before: %w", p.GetId(), ErrConflict)
		}
		if a.Close != nil {
			return nil
		}
	}
	k := j.know(name)
	k.account(p.GetSide()).Further(p)
	j.changed(name, k)
	return nil
}

// keyed says that what is there of an account has that key.
func keyed(a *crossing.Account, k *crossingv1.Key) bool {
	return (a.Open == nil || proto.Equal(a.Open.GetKey(), k)) &&
		(a.Progress == nil || proto.Equal(a.Progress.GetKey(), k)) &&
		(a.Close == nil || proto.Equal(a.Close.GetKey(), k))
}

// same accepts a frame that came before.
func same(before, now proto.Message, what string) error {
	if proto.Equal(before, now) {
		return nil
	}
	return fmt.Errorf("another %s of the same crossing: %w", what, ErrConflict)
}

func place(gateway string, k *crossingv1.Key) slot {
	return slot{gateway, k.GetEgress(), k.GetIngress(), k.GetRun(), k.GetSequence()}
}

func (k *known) account(side crossingv1.Side) *crossing.Account {
	if side == crossingv1.Side_INGRESS {
		return &k.ingress
	}
	return &k.egress
}

func (j *Joiner) know(name handle) *known {
	k := j.crossings[name]
	if k == nil {
		k = new(known)
		j.crossings[name] = k
	}
	return k
}

// changed joins anew and tells who follows. j.mu is held.
func (j *Joiner) changed(name handle, k *known) {
	if k.egress.Open == nil && k.ingress.Open == nil {
		return // an end without an opening shows nothing yet
	}
	before := k.record
	k.record = crossing.Join(&k.egress, &k.ingress)
	if proto.Equal(before, k.record) {
		return // an end whose opening is missing
	}
	if before == nil {
		j.insert(name)
	} else {
		j.count(before, false)
	}
	j.count(k.record, true)
	if isUnmatched(k.record) {
		j.unmatched[name] = struct{}{}
	} else {
		delete(j.unmatched, name)
	}
	j.trace(name, before.GetTrace(), k.record.GetTrace())
	for f := range j.followers {
		f.offer(k.halves())
	}
}

// insert puts a new record into its place in time. UUIDv7s sort by the egress
// gateway's clock, and most come in order.
func (j *Joiner) insert(name handle) {
	at, _ := slices.BinarySearch(j.order, name)
	j.order = slices.Insert(j.order, at, name)
}

// trace moves a record from one trace to another: the two gateways may name
// different ones.
func (j *Joiner) trace(name handle, before, now string) {
	if before == now {
		return
	}
	if before != "" {
		rest := slices.DeleteFunc(j.traces[before], func(h handle) bool { return h == name })
		if j.traces[before] = rest; len(rest) == 0 {
			delete(j.traces, before)
		}
	}
	if now != "" {
		j.traces[now] = append(j.traces[now], name)
	}
}

// count adds a record to its transition's counts, or takes it away.
func (j *Joiner) count(r *crossingv1.Record, add bool) {
	t := Transition{r.GetTransition().GetFrom(), r.GetTransition().GetTo()}
	if t.From == "" || t.To == "" {
		return // it is not known where it came from, or where it was going
	}
	c, one := j.counts[t], uint64(1)
	if !add {
		one = ^uint64(0) // adding it takes one away
	}
	if denied(r) {
		c.Denied += one
	} else {
		c.Allowed += one
		if failed(r) {
			c.Failed += one
		}
	}
	if isUnmatched(r) {
		c.Unmatched += one
	}
	if j.counts[t] = c; c == (Counts{}) {
		delete(j.counts, t)
	}
}

func isUnmatched(r *crossingv1.Record) bool {
	return r.GetState() == crossingv1.Record_ONE_SIDED || r.GetState() == crossingv1.Record_DISAGREE
}

// denied says that one of the gateways denied it.
func denied(r *crossingv1.Record) bool {
	return r.GetEgress().GetDecision() == crossingv1.Decision_DENY || r.GetIngress().GetDecision() == crossingv1.Decision_DENY
}

// failed says that something else than the crossing's two parties ended it, as the
// gateway nearest to the caller saw it.
func failed(r *crossingv1.Record) bool {
	end := r.GetEgress()
	if end == nil {
		end = r.GetIngress()
	}
	switch end.GetClose() {
	case crossingv1.Cause_CAUSE_UNSPECIFIED, crossingv1.Cause_DONE, crossingv1.Cause_CALLER_GONE:
		return false
	}
	return true
}

// Counts are what crossed each transition.
func (j *Joiner) Counts() map[Transition]Counts {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.counts)
}
