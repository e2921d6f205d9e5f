//go:build !linux

// Package usage reads from /proc what processes use, on Linux alone.
package usage
