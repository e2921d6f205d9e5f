package label

import (
	"crypto/sha256"
	"hash"
)

// Digest holds a content against a label as it streams by. The rule: the last byte
// of the content, or its end where nothing is in it, goes on only if it Matches then;
// and where the label is what the request is allowed by, no byte goes on before.
type Digest struct {
	want [sha256.Size]byte
	hash hash.Hash
}

// Digest is for a content of which nothing was seen.
func (l *Label) Digest() *Digest { return &Digest{want: l.ContentSHA256, hash: sha256.New()} }

// Write takes the next bytes of the content. It never fails.
func (d *Digest) Write(p []byte) (int, error) { return d.hash.Write(p) }

// Matches says that what was written until now is all that the label speaks of.
func (d *Digest) Matches() bool {
	var room [sha256.Size]byte
	return [sha256.Size]byte(d.hash.Sum(room[:0])) == d.want
}

// Reset makes it a new one, for a content that is sent again.
func (d *Digest) Reset() { d.hash.Reset() }
