package tcptunnel

import "sync"

// block is a piece of what has arrived and is not read yet. Small, because a
// stream with one unread byte holds one, and a stream with none holds none.
type block struct {
	next *block
	r, w int
	data [4096 - 24]byte
}

// blocks is a first-in, first-out buffer of blocks from a pool.
type blocks struct{ first, last *block }

func (b *blocks) put(p []byte, pool *sync.Pool) {
	for len(p) > 0 {
		if b.last == nil || b.last.w == len(b.last.data) {
			b.grow(pool)
		}
		n := copy(b.last.data[b.last.w:], p)
		b.last.w += n
		p = p[n:]
	}
}

func (b *blocks) grow(pool *sync.Pool) {
	fresh := pool.Get().(*block)
	fresh.next, fresh.r, fresh.w = nil, 0, 0
	if b.last == nil {
		b.first = fresh
	} else {
		b.last.next = fresh
	}
	b.last = fresh
}

// take moves as much as there is into p.
func (b *blocks) take(p []byte, pool *sync.Pool) int {
	total := 0
	for b.first != nil && total < len(p) {
		n := copy(p[total:], b.first.data[b.first.r:b.first.w])
		b.first.r += n
		total += n
		if b.first.r == b.first.w {
			b.shift(pool)
		}
	}
	return total
}

func (b *blocks) shift(pool *sync.Pool) {
	old := b.first
	b.first = old.next
	if b.first == nil {
		b.last = nil
	}
	pool.Put(old)
}

// detach takes the first blocks out, as many as there is room for, and gives
// their number. They go back to the pool by themselves.
func (b *blocks) detach(into []*block) int {
	n := 0
	for ; b.first != nil && n < len(into); n++ {
		into[n] = b.first
		b.first = b.first.next
	}
	if b.first == nil {
		b.last = nil
	}
	return n
}

// drop throws away all that there is.
func (b *blocks) drop(pool *sync.Pool) {
	for b.first != nil {
		b.shift(pool)
	}
}
