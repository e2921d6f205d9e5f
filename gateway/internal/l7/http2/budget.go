package http2

import "time"

// Budget is how many of something a peer may do: Burst at once, and PerSecond on
// and on.
type Budget struct{ Burst, PerSecond int }

// budget is what is left of one.
type budget struct {
	Budget
	left int
	at   time.Time // when it was filled up last
}

func newBudget(b Budget) budget { return budget{Budget: b, left: b.Burst, at: time.Now()} }

// spend takes one, and says false if there is none. The clock is only asked when
// the budget seems to be empty.
func (b *budget) spend() bool {
	if b.left == 0 {
		b.refill(time.Now())
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

func (b *budget) refill(now time.Time) {
	if b.PerSecond <= 0 {
		return
	}
	each := time.Second / time.Duration(b.PerSecond)
	n := now.Sub(b.at) / each
	b.at = b.at.Add(n * each)
	b.earn(int(min(n, time.Duration(b.Burst))))
}

// earn gives n back.
func (b *budget) earn(n int) { b.left = min(b.Burst, b.left+n) }
