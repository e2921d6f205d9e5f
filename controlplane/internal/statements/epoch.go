package statements

import (
	"iter"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// side is who states: the egress or the ingress gateway of a chain.
type side int

const (
	egress side = iota
	ingress
	sides
)

// epoch is what is known of one epoch of a chain: its claim and its answer, and how
// they compare with what was delivered.
type epoch struct {
	number        uint64
	claim, answer statement.Hash // of the latter zero: there is none
	first, next   uint64
	at            time.Time // its end, by the egress gateway's clock
	accounts      [sides]account
	lists         *lists // nil while no account is to be held
	heeded        bool   // the answer was held against the claims and answers before
	forked        bool   // another claim of it came when it was not followed any more
}

// lists are the numbers that an epoch names.
type lists struct {
	voids map[uint64]bool
	// closed are in order: a root is over them.
	closed []uint64
	// unopened and unended are those that the ingress gateway has no frame of, of the
	// opening or of the end; extra are voids that it has an opening of.
	unopened, unended, extra map[uint64]bool
}

// account is what one side says of an epoch, and how it compares with its frames.
type account struct {
	stated  bool
	roots   *crossingv1.Roots // until it was held
	at      time.Time         // when it was said, by the side's own clock
	came    time.Time         // when that came here, from either side
	own     time.Time         // when its own copy came; zero before
	after   uint64            // the epoch whose answer has to come first; 0 if none has to
	missing int               // frames that it states and that have not come
	held    bool              // it was held against its frames
	altered string            // what of them is not what it states: openings, ends or both
}

// waits says that the account cannot be held against its frames yet.
func (a *account) waits() bool { return a.stated && !a.held }

// listsOf are the numbers that a claim names.
func listsOf(s *statement.Stated) *lists {
	l := &lists{
		voids: map[uint64]bool{}, closed: s.Closed(),
		unopened: map[uint64]bool{}, unended: map[uint64]bool{}, extra: map[uint64]bool{},
	}
	for _, n := range s.Voids() {
		l.voids[n] = true
	}
	return l
}

// opened are the numbers that the epoch's root of openings is over, and of each
// whether the side has a frame of it, by what is stated.
func (e *epoch) opened(s side) iter.Seq2[uint64, bool] {
	l := e.lists
	return func(yield func(uint64, bool) bool) {
		for n := e.first; n < e.next; n++ {
			stated := !l.voids[n]
			if s == ingress {
				stated = stated && !l.unopened[n] || l.extra[n]
			}
			if !yield(n, stated) {
				return
			}
		}
	}
}

// ended are the same of ends. Absent are the numbers that never opened at the ingress
// gateway.
func (e *epoch) ended(s side, absent map[uint64]bool) iter.Seq2[uint64, bool] {
	return func(yield func(uint64, bool) bool) {
		for _, n := range e.lists.closed {
			if !yield(n, s == egress || !e.lists.unended[n] && !absent[n]) {
				return
			}
		}
	}
}
