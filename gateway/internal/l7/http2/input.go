package http2

import (
	"io"
	"sync"
)

// inputSize holds the longest frame that is read as a whole, and several of the
// usual ones.
const inputSize = 32 << 10

var inputPool = sync.Pool{New: func() any { return new([inputSize]byte) }}

// input is the connection as a reader of frames in place. It belongs to the read
// loop. A connection that naps holds no buffer: it waits for a first few bytes.
type input struct {
	src   io.Reader
	buf   *[inputSize]byte // nil while it naps
	r, w  int              // buf[r:w] was read and is not used yet
	first [headerLen]byte
}

func newInput(src io.Reader) input {
	return input{src: src, buf: inputPool.Get().(*[inputSize]byte)}
}

func (in *input) buffered() int { return in.w - in.r }

// peek gives n bytes that are there, for use until the next read.
func (in *input) peek(n int) []byte { return in.buf[in.r : in.r+n] }

func (in *input) discard(n int) { in.r += n }

// read reads once, what there is. An error that came with bytes comes again.
func (in *input) read() error {
	if in.buf == nil {
		return in.wake()
	}
	if in.r > 0 {
		in.w = copy(in.buf[:], in.buf[in.r:in.w])
		in.r = 0
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

func (in *input) wake() error {
	n, err := in.src.Read(in.first[:])
	if n == 0 {
		return err
	}
	in.buf = inputPool.Get().(*[inputSize]byte)
	in.r, in.w = 0, copy(in.buf[:], in.first[:n])
	return nil
}

// nap gives the buffer back, if nothing is in it.
func (in *input) nap() {
	if in.buf != nil && in.r == in.w {
		in.release()
	}
}

func (in *input) release() {
	if in.buf != nil {
		inputPool.Put(in.buf)
		in.buf, in.r, in.w = nil, 0, 0
	}
}
