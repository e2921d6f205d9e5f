// Package recorder keeps what a gateway says of its crossings until the
// control plane has it for good. Each frame is spooled to disk first and
// delivered at least once; nothing is removed before it was acknowledged. The
// invariant: a crossing whose Open returned nil is in the spool, and a spool
// that is full or broken refuses new crossings and drops nothing.
//
// A spool is a directory of segments, each a file of entries: length (u32),
// CRC-32C of the payload (u32), payload, little-endian. A position is a
// segment's number and an offset in it, in one number, so that positions rise.
// Zeros behind the last entry of a segment are room for further ones.
package recorder
