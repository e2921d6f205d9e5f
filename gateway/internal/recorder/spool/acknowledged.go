package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// AckFile holds the position up to which everything was acknowledged: u64 and
// its CRC-32C. It saves work only: from a lost one, delivery begins again at
// the oldest segment, and a frame may come twice.
const AckFile = "acknowledged"

// acknowledged is the position up to which the control plane has everything.
type acknowledged struct {
	file disk.File

	mu    sync.Mutex // guards what follows
	at    Position
	moved chan struct{} // closed and replaced when at moves, and when places were given back
}

func openAcknowledged(sys disk.System, dir string, log *zap.Logger) (*acknowledged, error) {
	f, err := sys.Open(filepath.Join(dir, AckFile), os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("open position: %w", err)
	}
	a := &acknowledged{file: f, moved: make(chan struct{})}
	var b [12]byte
	if n, err := f.ReadAt(b[:], 0); n == len(b) && err == nil {
		if crc32.Checksum(b[:8], castagnoli) == binary.LittleEndian.Uint32(b[8:]) {
			a.at = Position(binary.LittleEndian.Uint64(b[:8]))
		} else {
			log.Warn("position of the spool is damaged; everything is delivered again")
		}
	}
	return a, nil
}

// watch is the position, and a channel that is closed when it moves.
func (a *acknowledged) watch() (Position, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at, a.moved
}

// wake closes the channel of those who watch.
func (a *acknowledged) wake() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.moved)
	a.moved = make(chan struct{})
}

// move notes that everything up to a position is acknowledged. It never goes back.
func (a *acknowledged) move(to Position) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if to <= a.at {
		return nil
	}
	a.at = to
	close(a.moved)
	a.moved = make(chan struct{})
	b := binary.LittleEndian.AppendUint64(nil, uint64(to))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := a.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write position: %w", err)
	}
	return nil
}

func (a *acknowledged) close() error {
	if err := a.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
