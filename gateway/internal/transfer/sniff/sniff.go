// Package sniff says what a model's or a dataset's file is, by its first bytes. It
// holds no more than those, and tells nothing of what they say but numbers.
package sniff

import (
	"bytes"
	"encoding/binary"
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

// maxHeader bounds the header of a safetensors file, in bytes, as its reference
// implementation does (huggingface/safetensors, MAX_HEADER_SIZE).
const maxHeader = 100_000_000

// Head is the beginning of a file while it streams. Its zero value is ready.
type Head struct {
	bytes [Size]byte
	n     int
}

// Take takes the next bytes of the file, as many as are needed.
func (h *Head) Take(p []byte) {
	if h.n < Size {
		h.n += copy(h.bytes[h.n:], p)
	}
}

// File is what a file is, as far as its beginning tells.
type File struct {
	Format  string // "" if it is none of those above
	Tensors uint64 // where Counted
	Counted bool   // its header says how many tensors it has
	Pickle  bool   // whoever loads it runs what it says
}

// File is what a file begins with h, of which size bytes are there in all.
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
	case isSafetensors(b, size):
		return File{Format: Safetensors}
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

// isSafetensors says that b begins with the length of a header that fits in the file,
// and with a JSON object (huggingface/safetensors, "Format").
func isSafetensors(b []byte, size int64) bool {
	if len(b) < 10 || b[8] != '{' {
		return false
	}
	n := binary.LittleEndian.Uint64(b)
	return n >= 2 && n <= maxHeader && size >= 8 && n <= uint64(size-8)
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

// isPickle says that b begins as pickles of protocol 2 to 5 do: with PROTO and, from 4
// on, a FRAME of some bytes; before that, with what is pushed first (Python's pickletools).
func isPickle(b []byte) bool {
	const proto, frame = 0x80, 0x95
	if len(b) < 4 || b[0] != proto {
		return false
	}
	switch b[1] {
	case 2, 3:
		return bytes.IndexByte([]byte("}])(cKMJX\x8a\x88\x89NGUTBC"), b[2]) >= 0
	case 4, 5:
		return len(b) > 11 && b[2] == frame && binary.LittleEndian.Uint64(b[3:]) >= 4
	}
	return false
}
