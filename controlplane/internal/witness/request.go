package witness

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// maxProof is how many hashes a consistency proof may have (tlog-witness).
const maxProof = 63

// request is what add-checkpoint is asked with.
type request struct {
	old    int64 // the size that the proof begins at
	proof  tlog.TreeProof
	origin string // unverified, as the signed note begins
	note   []byte
}

// parseRequest reads the body of add-checkpoint: the old size, the proof, an
// empty line and the checkpoint. It verifies nothing.
func parseRequest(body []byte) (request, error) {
	head, signed, found := bytes.Cut(body, []byte("\n\n"))
	if !found {
		return request{}, errors.New("no empty line before the checkpoint")
	}
	lines := strings.SplitN(string(head), "\n", maxProof+2)
	text, found := strings.CutPrefix(lines[0], "old ")
	if !found {
		return request{}, errors.New(`the first line is "old " and a size`)
	}
	size, err := parseSize(text)
	if err != nil {
		return request{}, fmt.Errorf("old size: %w", err)
	}
	if len(lines) > maxProof+1 {
		return request{}, fmt.Errorf("a proof has at most %d hashes", maxProof)
	}
	r := request{old: size, note: signed}
	for i, line := range lines[1:] {
		hash, err := parseHash(line)
		if err != nil {
			return request{}, fmt.Errorf("line %d: %w", i+2, err)
		}
		r.proof = append(r.proof, hash)
	}
	origin, _, _ := bytes.Cut(signed, []byte("\n"))
	r.origin = string(origin)
	return r, nil
}
