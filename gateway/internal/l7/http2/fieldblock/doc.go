// Package fieldblock turns field blocks of HTTP/2 (RFC 9113 4.3 and 8, RFC 7541)
// into heads and trailers of l7, and back. It knows no frames and no streams. One
// invariant: a head that it accepts can be written as HTTP/1.1 without saying
// something else there, and a block costs no more memory than twice its limit,
// whatever its table holds.
package fieldblock
