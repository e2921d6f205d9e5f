package translog

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

// ErrInUse says that another has the log open for appending.
var ErrInUse = errors.New("the log is in use: stop who appends to it, or wait until it has ended")

// takeLock takes a log's directory for this process alone, until release or its end.
func takeLock(dir string) (release func(), err error) {
	path := filepath.Join(dir, lockName)
	release, err = durable.Lock(path)
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("lock %s: %w", path, ErrInUse)
	}
	return release, err
}
