package witness

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Kinds of evidence.
const (
	// forked: two checkpoints of one size with different roots, both signed by the
	// log. They prove by themselves that it forked.
	forked = "fork"
	// unproven: a checkpoint that the log has signed and that was not shown to
	// contain the one cosigned. It forked, or whoever submitted it had no proof: ask
	// the log for one.
	unproven = "unproven"
	// smaller: a checkpoint of fewer entries than the log had when it was cosigned. The
	// log dropped its tail, or somebody submitted an earlier checkpoint: if the log has
	// no proof that the one cosigned contains it, it forked.
	smaller = "smaller"
)

// keptEvidence is how many files of a kind are kept of a log. Whoever has a log's
// checkpoints can send earlier ones, or send them with wrong proofs; only the log can
// fork.
var keptEvidence = map[string]int{forked: 1024, unproven: 64, smaller: 64}

// finding is what is wrong with a log, as a file of evidence has it.
type finding struct {
	Kind   string    `json:"kind"`
	Origin string    `json:"origin"`
	Time   time.Time `json:"time"`
	// Cosigned is the note that was cosigned last, with the log's signature.
	Cosigned string `json:"cosigned"`
	// Submitted is the body of the request: its old size, its proof, and its note,
	// which the log has signed.
	Submitted string `json:"submitted"`
}

// evidence is a directory with what was found of a log. Its owner sees to it
// that one caller uses it at a time.
type evidence struct {
	dir   string
	known map[string]bool // names of files
	kinds map[string]int
}

// openEvidence lists a directory, which need not be there.
func openEvidence(dir string) (*evidence, error) {
	e := &evidence{dir: dir, known: map[string]bool{}, kinds: map[string]int{}}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read evidence: %w", err)
	}
	for _, entry := range entries {
		if kind, _, _ := strings.Cut(entry.Name(), "-"); strings.HasSuffix(entry.Name(), ".json") {
			e.known[entry.Name()] = true
			e.kinds[kind]++
		}
	}
	return e, nil
}

// errEnough says that no more evidence of this kind is kept of this log.
var errEnough = errors.New("enough evidence of this kind is kept")

// keep writes a finding about a checkpoint and gives the file's path. What is
// there already stays: isNew is false.
func (e *evidence) keep(f finding, cp checkpoint) (path string, isNew bool, err error) {
	name := fmt.Sprintf("%s-%d-%s.json", f.Kind, cp.size, hex.EncodeToString(cp.root[:8]))
	path = filepath.Join(e.dir, name)
	if e.known[name] {
		return path, false, nil
	}
	if e.kinds[f.Kind] >= keptEvidence[f.Kind] {
		return "", true, errEnough
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return "", true, fmt.Errorf("encode evidence: %w", err)
	}
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return "", true, fmt.Errorf("keep evidence: %w", err)
	}
	if err := errors.Join(replace(path, append(text, '\n'), 0o600), syncDir(filepath.Dir(e.dir))); err != nil {
		return "", true, fmt.Errorf("keep evidence: %w", err)
	}
	e.known[name] = true
	e.kinds[f.Kind]++
	return path, true, nil
}
