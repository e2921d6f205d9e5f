// Package recorder keeps what a gateway says of its crossings until the
// control plane has it for good. Each frame is spooled to disk first and
// delivered at least once; nothing is removed before it was acknowledged and,
// where books of it are kept, stated. The invariant: a crossing whose Open
// returned nil is in the spool, and a spool that is full or broken refuses new
// crossings and drops nothing. Only where a crossing goes on all the same, its
// half waits in memory until the disk is back.
package recorder
