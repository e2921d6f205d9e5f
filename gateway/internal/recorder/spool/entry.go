package spool

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
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

const (
	// HeaderSize is what an entry has before its payload, in bytes: length u32,
	// CRC-32C u32.
	HeaderSize = 8
	// SegmentSize is how large a segment becomes, or a little more, in bytes.
	SegmentSize = 16 << 20
	// Suffix ends the name of a segment.
	Suffix = ".spool"
	// TornSuffix ends the name of what was set aside of a segment.
	TornSuffix = ".torn"
)

// castagnoli is the polynomial of CRC-32C, which processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrTorn says that an entry is not whole: the write of it was cut off.
var ErrTorn = errors.New("torn entry")

// Position is a place in the spool: a segment's number in the upper 32 bits,
// an offset in the lower.
type Position uint64

// At is the position at an offset of a segment.
func At(segment uint32, offset int64) Position { return Position(segment)<<32 | Position(offset) }

// Segment is the number of the segment.
func (p Position) Segment() uint32 { return uint32(p >> 32) }

// Offset is that in the segment, in bytes.
func (p Position) Offset() int64 { return int64(p & 0xffffffff) }

// AppendEntry appends a payload's entry.
func AppendEntry(b, payload []byte) []byte {
	before := len(b)
	b = append(append(b, make([]byte, HeaderSize)...), payload...)
	sealEntry(b[before:])
	return b
}

// sealEntry makes an entry of a payload behind room for the entry's header.
func sealEntry(b []byte) {
	payload := b[HeaderSize:]
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(payload, castagnoli))
}

// CutEntry takes the first entry off b, whose payload is at most that long. It fails
// with ErrTorn where that is no whole one.
func CutEntry(b []byte, most int) (payload, rest []byte, err error) {
	n := entrySize(b, most)
	if n == 0 {
		return nil, nil, ErrTorn
	}
	payload, rest = b[HeaderSize:n:n], b[n:]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, nil, ErrTorn
	}
	return payload, rest, nil
}

// WholeEntries is how many bytes of b are entries from end to end.
func WholeEntries(b []byte) int {
	whole := 0
	for size := entrySize(b, crossing.MaxFrame); size > 0; size = entrySize(b[whole:], crossing.MaxFrame) {
		whole += size
	}
	return whole
}

// entrySize is the size of the first entry, with its header; 0 if it is not there
// from end to end.
func entrySize(b []byte, most int) int {
	if len(b) < HeaderSize {
		return 0
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || uint64(n) > uint64(most) || uint64(len(b)-HeaderSize) < uint64(n) {
		return 0
	}
	return HeaderSize + int(n)
}

// readEntry reads an entry. It fails with io.EOF at the end and with ErrTorn
// where what follows is no whole entry.
func readEntry(r io.Reader) ([]byte, error) {
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, torn(err)
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n == 0 || n > crossing.MaxFrame {
		return nil, ErrTorn
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, torn(err)
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(header[4:]) {
		return nil, ErrTorn
	}
	return payload, nil
}

func torn(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTorn
	}
	return err
}

// Path is where a directory's segment of that number is.
func Path(dir string, n uint32) string {
	return filepath.Join(dir, fmt.Sprintf("%010d%s", n, Suffix))
}

// Segments are the numbers of a directory's segments, rising.
func Segments(sys disk.System, dir string) ([]uint32, error) {
	entries, err := sys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	var numbers []uint32
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name, Suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("list spool: %s is not a segment's name", e.Name)
		}
		numbers = append(numbers, uint32(n))
	}
	slices.Sort(numbers)
	return numbers, nil
}

// Scan reads a file of entries and calls each with every payload and the offset
// after it. It gives the offset after the last whole entry and whether anything that
// is not whole follows it.
func Scan(sys disk.System, path string, each func(payload []byte, end int64) error) (end int64, cut bool, err error) {
	f, err := sys.Open(path, os.O_RDONLY)
	if err != nil {
		return 0, false, fmt.Errorf("read spool: %w", err)
	}
	defer f.Close()
	return scan(f, 0, each)
}

// scan does that with an open file, from an offset on.
func scan(f io.ReaderAt, from int64, each func(payload []byte, end int64) error) (end int64, cut bool, err error) {
	const all = 1 << 62
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, all), 64<<10)
	for end = from; ; {
		payload, err := readEntry(r)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return end, false, nil
		case errors.Is(err, ErrTorn):
			return end, true, nil
		default:
			return end, false, fmt.Errorf("read spool: %w", err)
		}
		end += HeaderSize + int64(len(payload))
		if err := each(payload, end); err != nil {
			return end, false, err
		}
	}
}

// ReadAt reads the payload of the entry at a position.
func ReadAt(sys disk.System, dir string, at Position) ([]byte, error) {
	f, err := sys.Open(Path(dir, at.Segment()), os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	defer f.Close()
	payload, err := readEntry(io.NewSectionReader(f, at.Offset(), HeaderSize+crossing.MaxFrame))
	if err != nil {
		return nil, fmt.Errorf("read spool: segment %d, offset %d: %w", at.Segment(), at.Offset(), err)
	}
	return payload, nil
}
