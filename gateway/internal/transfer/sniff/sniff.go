// Package sniff says what a model's or a dataset's file is, by its first bytes, and of a
// safetensors file by its header. It holds no more than the first bytes, and tells nothing
// of what they say but numbers, and names of the format's own.
package sniff

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Formats, as a record names them.
const (
	Safetensors = "safetensors"
	GGUF        = "gguf"
	Parquet     = "parquet"
	Arrow       = "arrow"
	PyTorch     = "pytorch" // a pickle in a zip archive, as torch.save writes it
	Pickle      = "pickle"  // alone
)

// Size is how many bytes at the beginning of a file tell, at most.
const Size = 128

// Head is the beginning of a file while it streams. Its zero value is ready.
type Head struct {
	bytes  [Size]byte
	n      int
	header *header // nil if it is no safetensors file
}

// Take takes the next bytes of the file, as many as are needed.
func (h *Head) Take(p []byte) {
	if h.n <= prefix {
		n := copy(h.bytes[h.n:prefix+1], p)
		h.n, p = h.n+n, p[n:]
		if h.n > prefix {
			h.header = newHeader(h.bytes[:h.n])
			h.header.take(h.bytes[prefix:h.n])
		}
	}
	h.header.take(p)
	h.n += copy(h.bytes[h.n:], p)
}

// File is what a file is, as far as its beginning tells.
type File struct {
	Format  string // "" if it is none of those above
	Tensors uint64 // where Counted
	Counted bool   // its header says how many tensors it has
	Pickle  bool   // whoever loads it runs what it says

	Data         uint64 // bytes of tensors, as its header says; where that was read
	Dtypes       Dtypes // of its tensors; likewise
	Inconsistent bool   // its header contradicts itself, or the file's size
}

// File is what a file is that begins with h, of size bytes in all, -1 if that is not known.
func (h *Head) File(size int64) File {
	b := h.bytes[:h.n]
	switch {
	case bytes.HasPrefix(b, []byte("GGUF")):
		return gguf(b)
	case bytes.HasPrefix(b, []byte("PAR1")):
		return File{Format: Parquet}
	case bytes.HasPrefix(b, []byte("ARROW1\x00\x00")): // Arrow columnar format, "IPC File Format"
		return File{Format: Arrow}
	case isTorch(b):
		return File{Format: PyTorch, Pickle: true}
	case isPickle(b):
		return File{Format: Pickle, Pickle: true}
	case h.header != nil:
		return h.header.file(size)
	}
	return File{}
}

// gguf reads a header (ggml-org/ggml, docs/gguf.md): the magic, a version and, from
// version 2 on, 64 bits that say how many tensors there are.
func gguf(b []byte) File {
	if len(b) < 24 {
		return File{}
	}
	switch binary.LittleEndian.Uint32(b[4:]) {
	case 1:
		return File{Format: GGUF}
	case 2, 3:
		return File{Format: GGUF, Tensors: binary.LittleEndian.Uint64(b[8:]), Counted: true}
	}
	return File{}
}

// isTorch says that b is a zip archive whose first file is the pickle that torch.save
// writes first: NAME/data.pkl (PKWARE APPNOTE 4.3.7).
func isTorch(b []byte) bool {
	const fixed = 30
	if len(b) < fixed || !bytes.HasPrefix(b, []byte("PK\x03\x04")) {
		return false
	}
	n := int(binary.LittleEndian.Uint16(b[26:]))
	if fixed+n > len(b) {
		return false
	}
	name := b[fixed : fixed+n]
	return bytes.HasSuffix(name, []byte("/data.pkl")) || string(name) == "data.pkl"
}

// isPickle says that b begins as pickles of protocol 2 to 5 do: with PROTO, and then a
// frame, or what pushes something, for there is nothing yet that others could be about.
// The version says only what is the newest that may come (CPython, Lib/pickletools.py and
// Lib/pickle.py, whose framer writes no frame around less than four bytes, or before large
// ones).
func isPickle(b []byte) bool {
	const proto = 0x80
	const pushes = "(FIJKLMNPSTUVXcG}])" + // protocols 0 and 1
		"\x82\x83\x84\x88\x89\x8a\x8b" + "BC" + // 2 and 3
		"\x8c\x8d\x8e\x8f\x95" + "\x96\x97" // 4, with FRAME, and 5
	return len(b) >= 4 && b[0] == proto && b[1] >= 2 && b[1] <= 5 && strings.IndexByte(pushes, b[2]) >= 0
}
