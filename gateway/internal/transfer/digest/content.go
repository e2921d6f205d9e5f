// Package digest digests what a transfer moves while it streams, and holds it
// against what was declared of it.
package digest

import (
	"bytes"
	"crypto/sha256"
	"hash"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/manifest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/sniff"
)

// Content is the SHA-256 of one message's content while it streams: of its bytes
// without the connection's framing, and with the content's codings, as RFC 9530
// has it for Content-Digest. It holds some hundred bytes, whatever passes. Its zero
// value is ready; it is for one goroutine at a time.
type Content struct {
	hash hash.Hash
	sum  [sha256.Size]byte
	n    int64
	head sniff.Head

	manifest *manifest.Reader // nil if it is none

	counts bool  // lines
	breaks int64 // line feeds that came
	open   bool  // what came behind the last of them is a line, too
}

// CountLines has what comes from now on counted by its lines, too.
func (c *Content) CountLines() { c.counts = true }

// Write takes content. It never fails.
func (c *Content) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.head.Take(p)
	if c.manifest != nil {
		c.manifest.Write(p) //nolint:errcheck // its end tells
	}
	if c.counts && len(p) > 0 {
		c.breaks += int64(bytes.Count(p, []byte{'\n'}))
		c.open = p[len(p)-1] != '\n'
	}
	return c.begun().Write(p)
}

func (c *Content) begun() hash.Hash {
	if c.hash == nil {
		c.hash = sha256.New()
	}
	return c.hash
}

// Finish gives the digest of content that came to its right end, and makes c
// ready for another.
func (c *Content) Finish() Sum { return c.end(false) }

// BreakOff gives the digest of what came of content that broke off, and makes c
// ready for another.
func (c *Content) BreakOff() Sum { return c.end(true) }

func (c *Content) end(partial bool) Sum {
	c.begun().Sum(c.sum[:0]) // content that is empty has a digest, too
	s := Sum{SHA256: c.sum, Bytes: c.n, Partial: partial, Head: c.head, Lines: c.breaks}
	if c.open {
		s.Lines++
	}
	if c.manifest != nil && !partial && c.manifest.End() == nil {
		s.Kind = c.manifest.Kind()
	}
	c.hash.Reset()
	*c = Content{hash: c.hash}
	return s
}

// Sum is the digest of a message's content.
type Sum struct {
	SHA256  [sha256.Size]byte
	Bytes   int64 // that it is of
	Partial bool  // the content broke off after them
	Head    sniff.Head
	Lines   int64  // of them, if they were counted
	Kind    string // of the manifest that it is; "" if it does not say, or is none
}

// partial says that less came than the transfer's head told, or than there was.
func (s Sum) partial(t *transfer.Transfer) bool {
	return s.Partial || t.Length >= 0 && s.Bytes != t.Length
}
