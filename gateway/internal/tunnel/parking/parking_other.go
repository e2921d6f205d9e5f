//go:build !linux

package parking

import (
	"errors"
	"syscall"
)

// Open fails with errors.ErrUnsupported: this system's connections wait with a
// goroutine each. What follows is never called.
func Open() (*Lot, error) { return nil, errors.ErrUnsupported }

// Run returns at once.
func (*Lot) Run() {}

func (*Lot) await(syscall.RawConn, Ticket) error { return errors.ErrUnsupported }
