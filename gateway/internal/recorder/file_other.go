//go:build !linux

package recorder

import "os"

// osFile is a file; its Sync is fsync.
type osFile struct{ *os.File }
