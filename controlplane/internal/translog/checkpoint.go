package translog

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Checkpoint says what a tree is (C2SP tlog-checkpoint).
type Checkpoint struct {
	// Origin is the log's name.
	Origin string
	// Size is how many entries there are.
	Size uint64
	// Root is the Merkle tree hash of them (RFC 6962, section 2.1).
	Root [sha256.Size]byte
	// Note is the signed note that says so; nil of what is not signed.
	Note []byte
}

// openCheckpoint reads a checkpoint that the log has signed.
func openCheckpoint(text []byte, v note.Verifier) (*Checkpoint, error) {
	n, err := note.Open(text, note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("checkpoint of %s: %w", v.Name(), err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return nil, err
	}
	if c.Origin != v.Name() {
		return nil, fmt.Errorf("checkpoint of %q, signed by the log %q", c.Origin, v.Name())
	}
	c.Note = text
	return c, nil
}

var errNoCheckpoint = errors.New("it is no checkpoint: want an origin, a size and a root, each on a line of its own")

// parseCheckpoint reads a checkpoint's text. Extension lines are passed over.
func parseCheckpoint(text string) (*Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] == "" || lines[len(lines)-1] != "" {
		return nil, errNoCheckpoint
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return nil, errNoCheckpoint
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != sha256.Size {
		return nil, errNoCheckpoint
	}
	return &Checkpoint{Origin: lines[0], Size: size, Root: [sha256.Size]byte(root)}, nil
}
