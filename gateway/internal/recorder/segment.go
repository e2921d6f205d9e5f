package recorder

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

const (
	entryHeader = 8        // length u32, CRC-32C u32
	segmentSize = 16 << 20 // a segment is closed once it is about this large, in bytes
	suffix      = ".spool"
)

// castagnoli is the polynomial of CRC-32C, which processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn says that an entry is not whole: the write of it was cut off.
var errTorn = errors.New("torn entry")

// position is a place in the spool: a segment's number in the upper 32 bits,
// an offset in the lower.
type position uint64

func at(segment uint32, offset int64) position { return position(segment)<<32 | position(offset) }

func (p position) segment() uint32 { return uint32(p >> 32) }
func (p position) offset() int64   { return int64(p & 0xffffffff) }

// appendEntry appends a payload's entry.
func appendEntry(b, payload []byte) []byte {
	before := len(b)
	b = append(append(b, make([]byte, entryHeader)...), payload...)
	sealEntry(b[before:])
	return b
}

// sealEntry makes an entry of a payload behind room for the entry's header.
func sealEntry(b []byte) {
	payload := b[entryHeader:]
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(payload, castagnoli))
}

// cutEntry takes the first entry off b. It fails with errTorn where that is no
// whole one.
func cutEntry(b []byte) (payload, rest []byte, err error) {
	n := entrySize(b)
	if n == 0 {
		return nil, nil, errTorn
	}
	payload, rest = b[entryHeader:n:n], b[n:]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, nil, errTorn
	}
	return payload, rest, nil
}

// entrySize is the size of the first entry, with its header; 0 if it is not there
// from end to end.
func entrySize(b []byte) int {
	if len(b) < entryHeader {
		return 0
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > crossing.MaxFrame || len(b)-entryHeader < int(n) {
		return 0
	}
	return entryHeader + int(n)
}

// readEntry reads an entry. It fails with io.EOF at the end and with errTorn
// where what follows is no whole entry.
func readEntry(r io.Reader) ([]byte, error) {
	var header [entryHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, torn(err)
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n == 0 || n > crossing.MaxFrame {
		return nil, errTorn
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, torn(err)
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(header[4:]) {
		return nil, errTorn
	}
	return payload, nil
}

func torn(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

func segmentPath(dir string, n uint32) string {
	return filepath.Join(dir, fmt.Sprintf("%010d%s", n, suffix))
}

// segments are the numbers of a directory's segments, rising.
func segments(dir string) ([]uint32, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	var numbers []uint32
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("list spool: %s is not a segment's name", e.Name())
		}
		numbers = append(numbers, uint32(n))
	}
	slices.Sort(numbers)
	return numbers, nil
}

// scan reads a segment from an offset and calls each with every payload and
// the offset after it. It gives the offset after the last whole entry and
// whether anything that is not whole follows it.
func scan(path string, from int64, each func(payload []byte, end int64) error) (end int64, cut bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return from, false, fmt.Errorf("read spool: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return from, false, fmt.Errorf("read spool: %w", err)
	}
	r := bufio.NewReaderSize(f, 256<<10)
	for end = from; ; {
		payload, err := readEntry(r)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return end, false, nil
		case errors.Is(err, errTorn):
			return end, true, nil
		default:
			return end, false, fmt.Errorf("read spool: %w", err)
		}
		end += entryHeader + int64(len(payload))
		if err := each(payload, end); err != nil {
			return end, false, err
		}
	}
}
