package statement

import (
	"iter"
	"slices"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// pageSize is how many numbers a page has.
	pageSize = 64
	// maxAhead is how far ahead of the claims numbers may be: no peer makes an account
	// larger than that by its numbers alone.
	maxAhead = 1 << 22
	// sparePages is how many pages are kept for use again.
	sparePages = 32
)

// book is one gateway's account of a chain: what came of each number that is not
// stated yet. It keeps what two gateways compare and where the frames are, not the
// frames. It is not safe for concurrent use.
type book struct {
	base    uint64  // numbers before it are stated as opened
	pages   []*page // of the numbers from base rounded down to a page
	older   map[uint64]*older
	ended   []uint64 // those of older that ended, in no order
	held    int      // frames that are not stated
	stated  []uint64 // places of frames that are, and of which nobody was told
	spare   []*page
	highest uint64 // the highest number that anything is known of
	orphans int    // how many of older are
	alone   bool   // openings are all there is
}

// page has the numbers of a part of the chain. Its agreed bytes grow as they come.
type page struct {
	slots  [pageSize]slot
	agreed []byte
}

// slot is what is known of a number that is not stated as opened.
type slot struct {
	open, end piece
	is        condition
}

// piece is a frame of a number: its leaf, its place, and its agreed bytes in its
// page.
type piece struct {
	leaf     Hash
	at       uint64
	from, to int
}

type condition uint8

const (
	opened     condition = 1 << iota // open is there
	closed                           // end is there
	void                             // it never opened
	taken                            // it has come, and is being recorded
	unrecorded                       // it came and could not be recorded
	denied                           // it opened and was denied
)

// older is what is known of a number that is stated as opened, and not as ended.
type older struct {
	end      piece // without agreed bytes, which it has by itself
	agreed   []byte
	is       condition
	deferred bool // the ingress gateway has put it off before
	orphan   bool // it goes on here, and the other gateway has stated its end
}

func newBook(base uint64) book {
	return book{base: base, highest: base - 1, older: map[uint64]*older{}}
}

// slot of a number from base; nil if it is too far ahead, or has no page and none is
// to be made.
func (b *book) slot(n uint64, grow bool) (*slot, *page) {
	if n < b.base || n-b.base >= maxAhead {
		return nil, nil
	}
	at := n/pageSize - b.base/pageSize
	if at >= uint64(len(b.pages)) {
		if !grow {
			return nil, nil
		}
		b.pages = slices.Grow(b.pages, int(at)+1-len(b.pages))[:at+1]
	}
	p := b.pages[at]
	if p == nil {
		if !grow {
			return nil, nil
		}
		p = b.newPage()
		b.pages[at] = p
	}
	if grow {
		b.highest = max(b.highest, n)
	}
	return &p.slots[n%pageSize], p
}

func (b *book) newPage() *page {
	last := len(b.spare) - 1
	if last < 0 {
		return new(page)
	}
	p := b.spare[last]
	b.spare = b.spare[:last]
	return p
}

// release notes that a frame need not be kept.
func (b *book) release(at uint64) { b.stated = append(b.stated, at) }

// drop does so of a frame that was held.
func (b *book) drop(p *piece) {
	b.held--
	b.release(p.at)
}

// opening notes an opening. It gives false if there is one, or it was stated.
func (b *book) opening(h *crossingv1.Half, leaf *Hash, at uint64) bool {
	s, p := b.slot(h.GetKey().GetSequence(), true)
	if s == nil || s.is&opened != 0 {
		b.release(at)
		return false
	}
	from := len(p.agreed)
	p.agreed = crossing.AppendAgreedOpen(p.agreed, h)
	s.open = piece{*leaf, at, from, len(p.agreed)}
	s.is = s.is&^(void|taken|unrecorded) | opened
	if h.GetSide() == crossingv1.Side_INGRESS && h.GetEnd().GetDecision() == crossingv1.Decision_DENY {
		s.is |= denied
	}
	b.held++
	return true
}

// ending notes an end. It gives false if there is one, or it was stated.
func (b *book) ending(c *crossingv1.Close, leaf *Hash, at uint64) bool {
	n := c.GetKey().GetSequence()
	if n < b.base {
		return b.olderEnding(n, c, leaf, at)
	}
	s, p := b.slot(n, true)
	if s == nil || s.is&closed != 0 {
		b.release(at)
		return false
	}
	from := len(p.agreed)
	p.agreed = crossing.AppendAgreedClose(p.agreed, c)
	s.end = piece{*leaf, at, from, len(p.agreed)}
	s.is |= closed
	b.held++
	return true
}

func (b *book) olderEnding(n uint64, c *crossingv1.Close, leaf *Hash, at uint64) bool {
	o := b.older[n]
	if o == nil || o.is&closed != 0 {
		b.release(at)
		return false
	}
	o.agreed = crossing.AppendAgreedClose(nil, c)
	o.end = piece{leaf: *leaf, at: at}
	o.is |= closed
	b.ended = append(b.ended, n)
	b.held++
	return true
}

// openingOf is the opening of a number that is not stated as opened; nil if there is none.
func (b *book) openingOf(n uint64) (*piece, []byte, condition) {
	s, p := b.slot(n, false)
	switch {
	case s == nil:
		return nil, nil, 0
	case s.is&opened == 0:
		return nil, nil, s.is
	}
	return &s.open, p.agreed[s.open.from:s.open.to], s.is
}

// endOf is the end of a number that is not stated as ended; nil if there is none.
func (b *book) endOf(n uint64) (*piece, []byte, condition) {
	if n < b.base {
		o := b.older[n]
		switch {
		case o == nil:
			return nil, nil, 0
		case o.is&closed == 0:
			return nil, nil, o.is
		}
		return &o.end, o.agreed, o.is
	}
	s, p := b.slot(n, false)
	switch {
	case s == nil:
		return nil, nil, 0
	case s.is&closed == 0:
		return nil, nil, s.is
	}
	return &s.end, p.agreed[s.end.from:s.end.to], s.is
}

// advance states numbers before next as opened, and the rising numbers of ends as
// ended, but for those that are put off.
func (b *book) advance(next uint64, ends, deferred []uint64) {
	b.stated = slices.Grow(b.stated, min(b.held, len(ends)+int(next-b.base)))
	for _, n := range ends {
		switch off := has(deferred, n); {
		case n < b.base:
			b.endOlder(n, off)
		case !off:
			b.forgetEnd(n)
		}
	}
	for n, s := range b.slots(next) {
		b.age(n, s, has(deferred, n))
	}
	b.turn(next)
	b.ended = slices.DeleteFunc(b.ended, func(n uint64) bool { o := b.older[n]; return o == nil || o.is&closed == 0 })
}

// slots are the numbers before next that there is a page for. A peer may jump far.
func (b *book) slots(next uint64) iter.Seq2[uint64, *slot] {
	return func(yield func(uint64, *slot) bool) {
		first := b.base / pageSize
		for at, p := range b.pages {
			if p == nil {
				continue
			}
			from := (first + uint64(at)) * pageSize
			for n := max(from, b.base); n < min(from+pageSize, next); n++ {
				if !yield(n, &p.slots[n%pageSize]) {
					return
				}
			}
		}
	}
}

// endOlder states an older number as ended, or notes that it was put off.
func (b *book) endOlder(n uint64, off bool) {
	o := b.older[n]
	switch {
	case o == nil:
	case off:
		o.deferred = true
	default:
		b.forgetOlder(n)
	}
}

// forgetOlder drops an older number.
func (b *book) forgetOlder(n uint64) {
	o := b.older[n]
	if o == nil {
		return
	}
	if o.is&closed != 0 {
		b.drop(&o.end)
	}
	if o.orphan {
		b.orphans--
	}
	delete(b.older, n)
}

// over says of a number that is about to be stated as opened that no end of it is to
// come.
const over condition = 1 << 7

// forgetEnd states the end of a number that is not older.
func (b *book) forgetEnd(n uint64) {
	s, _ := b.slot(n, false)
	if s == nil {
		return
	}
	if s.is&closed != 0 {
		b.drop(&s.end)
	}
	s.is = s.is&^closed | over
}

// age states a number as opened.
func (b *book) age(n uint64, s *slot, deferred bool) {
	if s.is&opened != 0 {
		b.drop(&s.open)
	}
	switch {
	case s.is&over != 0 || b.alone:
	case s.is&opened != 0:
		o := &older{is: s.is, deferred: deferred}
		if s.is&closed != 0 {
			_, agreed, _ := b.endOf(n)
			o.end, o.agreed = s.end, slices.Clone(agreed)
			b.ended = append(b.ended, n)
		}
		b.older[n] = o
		return
	}
	if s.is&closed != 0 {
		b.drop(&s.end)
	}
}

// turn drops the pages before next.
func (b *book) turn(next uint64) {
	gone := min(next/pageSize-b.base/pageSize, uint64(len(b.pages)))
	for _, p := range b.pages[:gone] {
		if p != nil && len(b.spare) < sparePages {
			p.slots, p.agreed = [pageSize]slot{}, p.agreed[:0]
			b.spare = append(b.spare, p)
		}
	}
	b.pages = slices.Delete(b.pages, 0, int(gone))
	b.base = next
	b.highest = max(b.highest, next-1)
}

// olders are the older numbers, rising.
func (b *book) olders() []uint64 {
	numbers := make([]uint64, 0, len(b.older))
	for n := range b.older {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// open are the numbers before next that would be older if those were stated as
// opened, rising.
func (b *book) open(next uint64) []uint64 {
	numbers := b.olders()
	for n, s := range b.slots(next) {
		if s.is&opened != 0 && !b.alone {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// clear drops all numbers.
func (b *book) clear() {
	for n := range b.older {
		b.forgetOlder(n)
	}
	for _, s := range b.slots(b.highest + 1) {
		if s.is&opened != 0 {
			b.drop(&s.open)
		}
		if s.is&closed != 0 {
			b.drop(&s.end)
		}
		*s = slot{}
	}
}

// takeStated gives the places of frames that nobody was told of.
func (b *book) takeStated() []uint64 {
	stated := b.stated
	b.stated = nil
	return stated
}
