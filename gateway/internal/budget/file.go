package budget

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

const (
	// fileName is the file in a gateway's state directory. It has a line of the form of
	// fileHead, and then entries in JSON.
	fileName = "budgets"
	// fileHead says how many bytes follow, and their CRC-32C.
	fileHead = "sallyport budgets 1 length=%d crc32c=%08x\n"
	// damagedSuffix is what a file is called by that was set aside, behind its name.
	damagedSuffix = ".damaged"
)

// ErrDamaged says that what was kept cannot be read. It was set aside.
var ErrDamaged = errors.New("the budgets that were kept are damaged")

// File keeps a ledger, so that a restart does not give callers a day's budget twice. A
// crash loses what was used since the last Save, and the disk's damage all of it: then
// budgets begin anew, as they do when somebody deletes the file, and so that a gateway
// whose disk has failed goes on. It is not safe for concurrent use.
type File struct {
	sys    disk.System
	path   string
	ledger *Ledger
	saved  uint64 // the last change that is in it
}

// NewFile keeps a ledger in a directory.
func NewFile(sys disk.System, dir string, l *Ledger) *File {
	return &File{sys: sys, path: filepath.Join(dir, fileName), ledger: l}
}

// Load takes in what was kept, if anything was. With ErrDamaged nothing was, and the
// gateway can go on.
func (f *File) Load(now time.Time) error {
	text, err := disk.ReadFile(f.sys, f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the budgets that were kept: %w", err)
	}
	entries, err := decode(text)
	if err != nil {
		aside := f.path + damagedSuffix
		return errors.Join(fmt.Errorf("%w: %q is now %q: %w", ErrDamaged, f.path, aside, err), f.sys.Rename(f.path, aside))
	}
	f.ledger.restore(entries, now)
	return nil
}

// Save keeps the ledger as it is now, if it has changed.
func (f *File) Save(now time.Time) error {
	if f.ledger.changes() == f.saved {
		return nil
	}
	entries, version := f.ledger.snapshot(now)
	text, err := encode(entries)
	if err == nil {
		err = disk.Replace(f.sys, f.path, text)
	}
	if err != nil {
		return fmt.Errorf("keep budgets: %w", err)
	}
	f.saved = version
	return nil
}

func encode(entries []entry) ([]byte, error) {
	body, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, fileHead, len(body), checksum(body)), body...), nil
}

func decode(text []byte) ([]entry, error) {
	var length int
	var sum uint32
	if _, err := fmt.Sscanf(string(text[:min(len(text), 80)]), fileHead, &length, &sum); err != nil {
		return nil, fmt.Errorf("its first line: %w", err)
	}
	head := fmt.Sprintf(fileHead, length, sum)
	if len(text) != len(head)+length || string(text[:len(head)]) != head {
		return nil, fmt.Errorf("it has %d bytes, not %d", len(text), len(head)+length)
	}
	body := text[len(head):]
	if got := checksum(body); got != sum {
		return nil, fmt.Errorf("its CRC-32C is %08x, not %08x", got, sum)
	}
	var entries []entry
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, err
	}
	return entries, nil
}

func checksum(text []byte) uint32 { return crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)) }
