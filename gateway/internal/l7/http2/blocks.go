package http2

import "sync"

// block is a piece of what has arrived and is not read yet. Small, because a
// stream with one unread byte holds one, and a stream with none holds none.
type block struct {
	next *block
	r, w int
	data [4096 - 24]byte
}

var blockPool = sync.Pool{New: func() any { return new(block) }}

// blocks is a first-in, first-out buffer of blocks from the pool.
type blocks struct {
	first, last *block
	length      int // bytes in it
}

func (b *blocks) put(p []byte) {
	b.length += len(p)
	for len(p) > 0 {
		if b.last == nil || b.last.w == len(b.last.data) {
			b.grow()
		}
		n := copy(b.last.data[b.last.w:], p)
		b.last.w += n
		p = p[n:]
	}
}

func (b *blocks) grow() {
	fresh := blockPool.Get().(*block)
	fresh.next, fresh.r, fresh.w = nil, 0, 0
	if b.last == nil {
		b.first = fresh
	} else {
		b.last.next = fresh
	}
	b.last = fresh
}

// take moves as much as there is into p.
func (b *blocks) take(p []byte) int {
	total := 0
	for b.first != nil && total < len(p) {
		n := copy(p[total:], b.first.data[b.first.r:b.first.w])
		b.first.r += n
		total += n
		if b.first.r == b.first.w {
			b.shift()
		}
	}
	b.length -= total
	return total
}

func (b *blocks) shift() {
	old := b.first
	b.first = old.next
	if b.first == nil {
		b.last = nil
	}
	blockPool.Put(old)
}

// drop throws away all that there is.
func (b *blocks) drop() {
	for b.first != nil {
		b.shift()
	}
	b.length = 0
}
