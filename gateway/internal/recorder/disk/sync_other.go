//go:build !linux

package disk

import "os"

// osFile is a file; its Sync is fsync.
type osFile struct{ *os.File }
