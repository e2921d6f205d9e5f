package witness

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxSize is the largest tree that is understood, in leaves. Up to there the
// arithmetic of consistency proofs holds.
const maxSize = 1 << 62

// emptyRoot is the root of a tree without leaves (RFC 6962, section 2.1).
var emptyRoot = tlog.Hash(sha256.Sum256(nil))

// checkpoint is what a checkpoint says (tlog-checkpoint). Extension lines are
// cosigned and mean nothing here.
type checkpoint struct {
	origin string
	size   int64
	root   tlog.Hash
}

// parseCheckpoint reads the text of a note.
func parseCheckpoint(text string) (checkpoint, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 {
		return checkpoint{}, errors.New("a checkpoint has three lines or more")
	}
	for _, line := range lines {
		if line == "" {
			return checkpoint{}, errors.New("a checkpoint has no empty lines")
		}
	}
	size, err := parseSize(lines[1])
	if err != nil {
		return checkpoint{}, err
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return checkpoint{}, err
	}
	return checkpoint{origin: lines[0], size: size, root: root}, nil
}

// parseSize reads a decimal number without leading zeros.
func parseSize(text string) (int64, error) {
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != text || size < 0 {
		return 0, errors.New("a size is a decimal number without leading zeros")
	}
	if size > maxSize {
		return 0, errors.New("the size is beyond all trees")
	}
	return size, nil
}

// parseHash reads a hash in its one base64 form.
func parseHash(text string) (tlog.Hash, error) {
	const length = 44 // the decoder itself would skip line ends
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(text) != length || len(raw) != tlog.HashSize {
		return tlog.Hash{}, errors.New("a hash is 32 bytes in base64")
	}
	return tlog.Hash(raw), nil
}

// originHash names an origin in URLs and files: hex of its SHA-256.
func originHash(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}

// validName says whether a note can have a key of this name (signed-note).
func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && strings.IndexFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == '+'
	}) < 0
}

// verifiers are a log's keys as notes are opened with them.
func (l Log) verifiers() (note.Verifiers, error) {
	if l.Origin == "" || !utf8.ValidString(l.Origin) || strings.ContainsFunc(l.Origin, unicode.IsControl) {
		return nil, fmt.Errorf("origin: %q must be set, and be one line", l.Origin)
	}
	if len(l.Keys) == 0 {
		return nil, fmt.Errorf("%s: there is no verifier key", l.Origin)
	}
	keys := make([]note.Verifier, 0, len(l.Keys))
	for _, text := range l.Keys {
		key, err := note.NewVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("%s: verifier key %q: %w", l.Origin, text, err)
		}
		keys = append(keys, key)
	}
	return note.VerifierList(keys...), nil
}
