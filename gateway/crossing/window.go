package crossing

import (
	"errors"
	"fmt"
)

// Why a number is not taken.
var (
	// ErrRepeated says that the number was there once before: an egress gateway may
	// say a crossing again where it fears that the first was lost.
	ErrRepeated = errors.New("the number was used before")
	// ErrOverused says that it was there more than once.
	ErrOverused = errors.New("the number was used too often")
	// ErrStale says that the number is too far behind to know that.
	ErrStale = errors.New("the number is too far behind")
	// ErrJump says that the number is too far ahead.
	ErrJump = errors.New("the number is too far ahead")
)

const (
	// WindowSize is how far behind the highest number another one may arrive:
	// tunnels of several carriers keep no order between them.
	WindowSize = 1 << 16
	// MaxJump is how far ahead of it the next one may be. Numbers are lost where a
	// tunnel fails just before a crossing opens in it, never so many.
	MaxJump = 1 << 20
)

// Window tells whether the numbers of one run, which are dense and arrive in any
// order, arrive once each. The zero value takes any number first, for who counts
// may have begun later than the run. It takes 16 KiB, and is not safe for
// concurrent use.
type Window struct {
	highest uint64
	seen    bits
	again   bits // seen more than once
}

// bits has one for each number, by its place in the window.
type bits [WindowSize / 64]uint64

func (b *bits) has(n uint64) bool { return b[n%WindowSize/64]&(1<<(n%64)) != 0 }
func (b *bits) set(n uint64)      { b[n%WindowSize/64] |= 1 << (n % 64) }
func (b *bits) clear(n uint64)    { b[n%WindowSize/64] &^= 1 << (n % 64) }

// Take takes a number, or says why it must not be: with ErrRepeated,
// ErrOverused, ErrStale or ErrJump.
func (w *Window) Take(n uint64) error {
	switch {
	case n == 0:
		return fmt.Errorf("%w: numbers begin with 1", ErrStale)
	case w.highest > 0 && n > w.highest && n-w.highest > MaxJump:
		return fmt.Errorf("%w: %d after %d", ErrJump, n, w.highest)
	case n > w.highest:
		w.advance(n)
	case w.highest-n >= WindowSize:
		return fmt.Errorf("%w: %d after %d", ErrStale, n, w.highest)
	case w.again.has(n):
		return fmt.Errorf("%w: %d", ErrOverused, n)
	case w.seen.has(n):
		w.again.set(n)
		return fmt.Errorf("%w: %d", ErrRepeated, n)
	}
	w.seen.set(n)
	return nil
}

// advance makes n the highest number: those between it and the last one have not
// been seen.
func (w *Window) advance(n uint64) {
	if n-w.highest >= WindowSize {
		w.seen, w.again = bits{}, bits{}
	} else {
		for m := w.highest + 1; m <= n; m++ {
			w.seen.clear(m)
			w.again.clear(m)
		}
	}
	w.highest = n
}
