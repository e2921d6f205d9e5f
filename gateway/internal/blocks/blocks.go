// Package blocks keeps what has arrived on a stream and is not read yet, in pieces
// that all streams share. A stream with one unread byte holds one piece, and a
// stream with none holds none.
package blocks

import "sync"

// Block is one piece.
type Block struct {
	next *Block
	r, w int
	data [4096 - 24]byte
}

var pool = sync.Pool{New: func() any { return new(Block) }}

// Bytes are what it holds, until Free.
func (b *Block) Bytes() []byte { return b.data[b.r:b.w] }

// Free gives a block back that Detach gave.
func (b *Block) Free() { pool.Put(b) }

// Buffer is a first-in, first-out buffer. The zero value is empty. It is not safe
// for concurrent use.
type Buffer struct {
	first, last *Block
	length      int
}

// Len is how many bytes are in it.
func (b *Buffer) Len() int { return b.length }

// Put adds a copy of p.
func (b *Buffer) Put(p []byte) {
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

func (b *Buffer) grow() {
	fresh := pool.Get().(*Block)
	fresh.next, fresh.r, fresh.w = nil, 0, 0
	if b.last == nil {
		b.first = fresh
	} else {
		b.last.next = fresh
	}
	b.last = fresh
}

// Take moves as much as there is into p, and says how much.
func (b *Buffer) Take(p []byte) int {
	total := 0
	for b.first != nil && total < len(p) {
		n := copy(p[total:], b.first.data[b.first.r:b.first.w])
		b.first.r += n
		total += n
		if b.first.r == b.first.w {
			b.shift().Free()
		}
	}
	b.length -= total
	return total
}

// shift takes the first block out.
func (b *Buffer) shift() *Block {
	old := b.first
	b.first = old.next
	if b.first == nil {
		b.last = nil
	}
	return old
}

// Detach takes the first blocks out, as many as there is room for, and gives their
// number. Each is to be freed.
func (b *Buffer) Detach(into []*Block) int {
	n := 0
	for ; b.first != nil && n < len(into); n++ {
		into[n] = b.shift()
		b.length -= len(into[n].Bytes())
	}
	return n
}

// Drop throws away all that there is.
func (b *Buffer) Drop() {
	for b.first != nil {
		b.shift().Free()
	}
	b.length = 0
}
