package sniff

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

const (
	// maxHeader bounds the header of a safetensors file, in bytes, as its reference
	// implementation does (huggingface/safetensors, MAX_HEADER_SIZE).
	maxHeader = 100_000_000
	// prefix is how many bytes before the header say how long it is.
	prefix = 8
)

// place is what stands somewhere in a header.
type place uint8

const (
	metadata place = iota
	tensor
	dtype
	shape
	dimension
	offsets
	offset
)

// wanted is what a header says of each tensor (huggingface/safetensors, "Format").
var wanted = jsonscan.MustSchema(map[string]place{
	"?/__metadata__": metadata, "/{}": tensor, "/{}/dtype": dtype,
	"/{}/shape": shape, "/{}/shape/*": dimension, "/{}/data_offsets": offsets, "/{}/data_offsets/*": offset,
})

// header reads the header of a safetensors file while it streams. It holds as much of a
// file of a million tensors as of one.
type header struct {
	length uint64 // as the file begins
	left   uint64 // of it
	scan   jsonscan.Scanner
	bad    bool // it is no header, or contradicts itself

	count, largest uint64 // tensors, and where the last of them ends
	balance        uint64 // of where tensors begin and end: see chained
	dtypes         Dtypes
	tensor         described // that is being read
}

// described is what a header says of one tensor.
type described struct {
	bits          uint64 // of an element; 0 of a type that is not known
	elements      uint64
	typed, shaped bool
	offsets       uint64 // how many were told
	begin, end    uint64
	malformed     bool // a number is none, or there are more elements than can be counted
}

// newHeader is of a file that begins with b; nil if that is no safetensors file.
func newHeader(b []byte) *header {
	if len(b) < prefix+1 || b[prefix] != '{' {
		return nil
	}
	n := binary.LittleEndian.Uint64(b)
	if n < 2 || n > maxHeader {
		return nil
	}
	h := &header{length: n, left: n}
	h.scan.Reset(wanted.Paths, (*headerHandler)(h))
	return h
}

// take takes what follows in the file.
func (h *header) take(p []byte) {
	if h == nil || h.left == 0 {
		return
	}
	p = p[:min(uint64(len(p)), h.left)]
	h.left -= uint64(len(p))
	if h.bad {
		return
	}
	_, err := h.scan.Write(p)
	h.bad = h.bad || err != nil || h.left == 0 && (h.scan.End() != nil || !h.chained())
}

// file is what the header says, of a file of that size in bytes, -1 if that is not known.
// It is inconsistent where the reference implementation would not load it, as far as the
// header tells (safetensors, Metadata::validate), but for a type that is not known.
func (h *header) file(size int64) File {
	f := File{Format: Safetensors, Inconsistent: h.bad}
	if size >= 0 && uint64(size) < prefix+h.length {
		f.Inconsistent = true
	}
	if h.left > 0 || f.Inconsistent {
		return f
	}
	f.Tensors, f.Counted, f.Data, f.Dtypes = h.count, true, h.largest, h.dtypes
	f.Inconsistent = size >= 0 && uint64(size)-prefix-h.length != h.largest
	return f
}

// chained says that tensors lie one behind the other, in whatever order the header has
// them: from each place where one ends the next begins, but for the first and the last.
// Sums of those places, mixed so that they do not cancel out, are all that is kept: who
// wants to can make a header for which they do.
func (h *header) chained() bool { return h.balance == mix(h.largest)-mix(0) }

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// headerHandler is a header that is told of values, which is not for others to do.
type headerHandler header

var _ jsonscan.Ender = (*headerHandler)(nil)

// Value implements jsonscan.Handler.
func (h *headerHandler) Value(path int, kind jsonscan.Kind, text []byte) error {
	t := &h.tensor
	switch wanted.Is[path] {
	case metadata:
		h.bad = h.bad || kind != jsonscan.Object && kind != jsonscan.Null
	case tensor:
		*t = described{elements: 1}
		h.bad = h.bad || kind != jsonscan.Object
	case dtype:
		t.typed = kind == jsonscan.String
		t.bits = h.dtypes.add(text)
	case shape:
		t.shaped = kind == jsonscan.Array
	case dimension:
		t.dimension(kind, text)
	case offsets:
		t.malformed = t.malformed || kind != jsonscan.Array
	case offset:
		t.offset(kind, text)
	}
	return nil
}

// End implements jsonscan.Ender.
func (h *headerHandler) End(path int) error {
	if wanted.Is[path] != tensor {
		return nil
	}
	t := &h.tensor
	h.bad = h.bad || !t.consistent()
	h.count++
	h.largest = max(h.largest, t.end)
	h.balance += mix(t.end) - mix(t.begin)
	return nil
}

// dimension takes one of a shape.
func (t *described) dimension(kind jsonscan.Kind, text []byte) {
	high, low := bits.Mul64(t.elements, t.number(kind, text))
	t.elements, t.malformed = low, t.malformed || high > 0
}

// offset takes one of two.
func (t *described) offset(kind jsonscan.Kind, text []byte) {
	t.begin, t.end = t.end, t.number(kind, text)
	t.offsets++
}

// number is a whole one that is not below zero; the header is malformed if it is another.
func (t *described) number(kind jsonscan.Kind, text []byte) uint64 {
	n, err := strconv.ParseUint(string(text), 10, 64)
	t.malformed = t.malformed || err != nil || kind != jsonscan.Number
	return n
}

// consistent says that a tensor is as long as its elements are.
func (t *described) consistent() bool {
	if !t.typed || !t.shaped || t.malformed || t.offsets != 2 || t.begin > t.end {
		return false
	}
	high, size := bits.Mul64(t.elements, t.bits)
	return t.bits == 0 || high == 0 && size%8 == 0 && size/8 == t.end-t.begin
}
