package statement

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// maxGroups is how many sets of fields are told apart for one kind of difference: a
	// peer whose every number differs otherwise gets no longer an answer.
	maxGroups = 16
	// maxStrayBytes is what the numbers of strays of one kind take in an answer.
	maxStrayBytes = 6 << 10
)

// findings are the differences of a claim, by kind and fields.
type findings struct {
	groups  map[group][]uint64
	sets    map[crossingv1.Difference_Kind]int // how many sets of fields each kind has
	digests int                                // that were compared
}

type group struct {
	kind   crossingv1.Difference_Kind
	fields string // with spaces between
}

// add adds a number once.
func (f *findings) add(kind crossingv1.Difference_Kind, fields []string, n uint64) {
	if f.groups == nil {
		f.groups, f.sets = map[group][]uint64{}, map[crossingv1.Difference_Kind]int{}
	}
	g := group{kind, strings.Join(fields, " ")}
	if _, there := f.groups[g]; !there && g.fields != "" {
		if f.sets[kind]++; f.sets[kind] > maxGroups {
			g.fields = ""
		}
	}
	f.groups[g] = append(f.groups[g], n)
}

func (f *findings) addAll(kind crossingv1.Difference_Kind, numbers []uint64) {
	for _, n := range numbers {
		f.add(kind, nil, n)
	}
}

// differences are the findings as an answer has them.
func (f *findings) differences() []*crossingv1.Difference {
	groups := make([]group, 0, len(f.groups))
	for g := range f.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.fields, b.fields))
	})
	var ds []*crossingv1.Difference
	for _, g := range groups {
		numbers := f.groups[g]
		slices.Sort(numbers)
		ds = append(ds, &crossingv1.Difference{
			Kind: g.kind, Fields: strings.Fields(g.fields), Numbers: distances(slices.Compact(numbers), 0),
		})
	}
	return ds
}

// freeze takes what is there for all there is: what has not come by now never opens.
func (r *Review) freeze() {
	i, c := r.ingress, r.claim
	i.barred = max(i.barred, c.Claim.GetNext())
	r.frozen = true
	r.own = spareLists.Get().(*[2]list)
	for at := range r.lists {
		r.own[at].reset()
		r.lists[at] = comparison{list: crossingv1.Ask_OPENED, chain: i.chain, frames: r.means.Frames, own: &r.own[at], found: &r.found}
	}
	r.lists[1].list = crossingv1.Ask_CLOSED
	for n := c.Claim.GetFirst(); n < c.Claim.GetNext(); n++ {
		r.opened(n)
	}
	for _, n := range c.closed {
		r.closed(n)
	}
	r.lists[0].begin(c.Claim.GetAgreed().GetOpened())
	r.lists[1].begin(c.Claim.GetAgreed().GetClosed())
	lost := r.missed > 0 || c.Claim.GetResumed()
	r.wantsGoing = lost && !c.Claim.GetFinal() && r.hasBefore()
	if !r.wantsGoing {
		r.findStrays()
	}
}

// opened takes what there is of the opening of a number.
func (r *Review) opened(n uint64) {
	l := &r.lists[0]
	p, agreed, is := r.ingress.book.openingOf(n)
	l.own.add(n, p, agreed)
	skip := true
	switch isVoid := has(r.claim.voids, n); {
	case p == nil && isVoid:
		skip = false // neither has it
	case p != nil && isVoid:
		r.found.add(crossingv1.Difference_UNOPENED, nil, n)
	case is&unrecorded != 0:
		r.found.add(crossingv1.Difference_UNRECORDED, nil, n)
	case p == nil:
		r.found.add(crossingv1.Difference_UNSEEN, nil, n)
	case is&denied != 0:
		l.denied = append(l.denied, n)
	default:
		skip = false
	}
	if skip {
		l.skip = append(l.skip, n)
	}
}

// closed takes what there is of the end of a number.
func (r *Review) closed(n uint64) {
	l := &r.lists[1]
	p, agreed, is := r.ingress.book.endOf(n)
	l.own.add(n, p, agreed)
	switch _, absent := r.ingress.absent[n]; {
	case p != nil && is&denied != 0:
		l.denied = append(l.denied, n)
	case p != nil:
		return
	case is&opened != 0:
		r.strays.deferred = append(r.strays.deferred, n)
	case absent || n >= r.claim.Claim.GetFirst() || r.claim.Claim.GetResumed():
		// It was named when it did not open, is being named, or was stated as ended to
		// a gateway that does not remember.
	default:
		r.found.add(crossingv1.Difference_UNENDED, nil, n)
	}
	l.skip = append(l.skip, n)
}

// hasBefore says that there is something of numbers before first.
func (r *Review) hasBefore() bool {
	if len(r.ingress.book.older) > 0 {
		return true
	}
	for n := range r.ingress.book.slots(r.claim.Claim.GetFirst()) {
		if p, _, _ := r.ingress.book.openingOf(n); p != nil {
			return true
		}
	}
	return false
}

// findStrays finds the numbers that no claim was, or will be, about.
func (r *Review) findStrays() {
	b, c := &r.ingress.book, r.claim.Claim
	unclaimed := r.ingress.stray
	for n := range b.slots(c.GetFirst()) { // a missed claim was about them
		if p, _, _ := b.openingOf(n); p != nil {
			unclaimed = append(unclaimed, n)
		}
	}
	slices.Sort(unclaimed)
	unclaimed = slices.Compact(unclaimed)
	most := fitting(unclaimed, maxStrayBytes)
	r.strays.later = unclaimed[most:]
	r.found.addAll(crossingv1.Difference_UNCLAIMED, unclaimed[:most])
	r.found.addAll(crossingv1.Difference_REUSED, r.ingress.reused)
	if r.hasGoing || c.GetFinal() || b.orphans > 0 || len(r.unheard) > 0 {
		r.findEnds()
	}
	if c.GetFinal() {
		r.unopened()
	}
}

// findEnds finds the ends that no claim will be about. What goes on here is an
// orphan, and so is an end that the answer has no room for: a later one has it.
func (r *Review) findEnds() {
	var ended []uint64
	for _, n := range r.ingress.book.open(r.claim.Claim.GetNext()) {
		if !r.stray(n) {
			continue
		}
		if p, _, _ := r.ingress.book.endOf(n); p != nil {
			ended = append(ended, n)
		} else {
			r.strays.orphans = append(r.strays.orphans, n)
		}
	}
	most := fitting(ended, maxStrayBytes)
	r.found.addAll(crossingv1.Difference_UNCLAIMED_END, ended[:most])
	r.strays.drop = append(r.strays.drop, ended[:most]...)
	r.strays.orphans = append(r.strays.orphans, ended[most:]...)
}

// stray says whether no claim will be about the end of a number that is open here, or
// has ended.
func (r *Review) stray(n uint64) bool {
	c := r.claim.Claim
	o := r.ingress.book.older[n]
	switch {
	case has(r.claim.closed, n) || has(r.claim.voids, n):
		return false
	case o != nil && o.orphan || has(r.unheard, n) || c.GetFinal():
		return true
	}
	return r.hasGoing && n < c.GetFirst() && !has(r.going, n)
}

// unopened finds what is here from the final claim's end on: the egress gateway lost
// its records of that.
func (r *Review) unopened() {
	b := &r.ingress.book
	var numbers []uint64
	for n := range b.slots(b.highest + 1) {
		if p, _, _ := b.openingOf(n); p != nil && n >= r.claim.Claim.GetNext() {
			numbers = append(numbers, n)
		}
	}
	r.strays.drop = append(r.strays.drop, numbers...)
	r.found.addAll(crossingv1.Difference_UNOPENED, numbers[:fitting(numbers, maxStrayBytes)])
}

// answer makes the answer of what was found.
func (r *Review) answer(now time.Time) (*Stated, error) {
	a := &crossingv1.Answer{
		Claim: r.claim.ClaimHash[:], Run: r.means.Run,
		Differences: r.found.differences(), Deferred: distances(r.strays.deferred, 0),
		Policy: r.means.Policy, At: timestamppb.New(now), Missed: r.missed, Forgot: r.forgot,
	}
	opened, closed := r.lists[0].own.tree.root(), r.lists[1].own.tree.root()
	a.Roots = &crossingv1.Roots{Opened: opened[:], Closed: closed[:]}
	data := encode(a)
	s := r.claim.Statement
	st, err := Read(&crossingv1.Statement{
		Claim: s.GetClaim(), Egress: s.GetEgress(), Answer: data,
		Ingress: r.means.Signer.sign(answerContext, r.claim.ClaimHash, sha256.Sum256(data)),
	})
	if err != nil {
		return nil, refusef("no answer can be made: %v", err)
	}
	return st, nil
}
