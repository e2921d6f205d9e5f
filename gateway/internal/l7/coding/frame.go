package coding

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Parts of a zstd frame (RFC 8878, section 3.1.1).
const (
	frameMagic = 0xfd2fb528
	frameStart = 5 // the magic number and the descriptor
	blockStart = 3
	checksum   = 4
	blockRLE   = 1 // the type of a block that is one byte, repeated
)

// frame lets through the first frame of a zstd content, and takes no byte behind it.
// It follows the blocks by their headers, which no decoder tells of; their
// contents, and whether they are valid, are the decoder's.
type frame struct {
	from *source

	want, have int // bytes of the next header, and those that are there
	head       [frameStart]byte
	pass       int // bytes before the next header
	blocks     bool
	summed     bool
	last       bool // no block follows
}

func (f *frame) Read(p []byte) (int, error) {
	if f.ended() {
		return 0, io.EOF
	}
	in, err := f.from.next()
	if err != nil {
		return 0, err
	}
	in = in[:min(len(in), len(p))]
	n, err := f.follow(in)
	copy(p, in[:n])
	f.from.take(n)
	return n, err
}

// ended says that all of the frame was let through.
func (f *frame) ended() bool { return f.last && f.pass == 0 }

// follow says how many bytes at the start of p are of the frame.
func (f *frame) follow(p []byte) (n int, err error) {
	for n < len(p) && err == nil && !f.ended() {
		if f.pass > 0 {
			some := min(f.pass, len(p)-n)
			f.pass -= some
			n += some
			continue
		}
		f.head[f.have] = p[n]
		f.have++
		n++
		if f.have == f.want {
			err = f.header()
		}
	}
	return n, err
}

// header takes a header that is there: first the frame's, then blocks'.
func (f *frame) header() error {
	f.have = 0
	if f.blocks {
		f.block()
		return nil
	}
	if binary.LittleEndian.Uint32(f.head[:]) != frameMagic {
		return fmt.Errorf("%w: no zstd frame", ErrMalformed)
	}
	f.blocks, f.want = true, blockStart
	f.describe(f.head[4])
	return nil
}

// describe takes a frame's descriptor, by which other fields follow or not.
func (f *frame) describe(d byte) {
	single := d&0x20 != 0
	f.summed = d&0x04 != 0
	f.pass = [...]int{0, 1, 2, 4}[d&3]   // the dictionary's id
	f.pass += [...]int{0, 2, 4, 8}[d>>6] // the content's size
	if single && d>>6 == 0 || !single {
		f.pass++ // one byte of size, or the window's
	}
}

func (f *frame) block() {
	h := int(f.head[0]) | int(f.head[1])<<8 | int(f.head[2])<<16
	f.last = h&1 != 0
	f.pass = h >> 3
	if h>>1&3 == blockRLE {
		f.pass = 1
	}
	if f.last && f.summed {
		f.pass += checksum
	}
}
