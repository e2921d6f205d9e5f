//go:build !linux

// Package eof tells an end that the other side of a connection said from what is left
// of a reset. Only Linux can be asked.
package eof

import "syscall"

// Reset says no.
func Reset(syscall.RawConn) bool { return false }
