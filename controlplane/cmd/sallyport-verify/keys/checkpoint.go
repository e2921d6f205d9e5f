package keys

import (
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/note"
)

// Checkpoint is one that was signed by a log of the file, and cosigned by enough
// witnesses.
type Checkpoint struct {
	note.Checkpoint

	// Cosigned are the witnesses that saw it, by name, and when.
	Cosigned []Cosignature
}

// Cosignature is a witness's.
type Cosignature struct {
	// Witness is its name in the file.
	Witness string
	// At is when, by its clock, in whole seconds.
	At time.Time
}

// Checkpoint reads a signed checkpoint. All who are said to have signed it must be in the
// file, and have: a signature that nobody looks at would be bytes that anyone may change.
func (f *File) Checkpoint(data []byte) (*Checkpoint, error) {
	n, err := note.Parse(data)
	if err != nil {
		return nil, err
	}
	c := new(Checkpoint)
	if c.Checkpoint, err = n.Checkpoint(); err != nil {
		return nil, err
	}
	signed := false
	for at := range n.Signatures {
		s := &n.Signatures[at]
		for _, other := range n.Signatures[:at] {
			if other.Name == s.Name && other.ID == s.ID {
				return nil, fmt.Errorf("it has two signatures of %q", s.Name)
			}
		}
		isLog, err := f.verify(n, s, c)
		if err != nil {
			return nil, err
		}
		signed = signed || isLog
	}
	if !signed {
		return nil, fmt.Errorf("the log %q has not signed it", c.Origin)
	}
	sort.Slice(c.Cosigned, func(i, j int) bool { return c.Cosigned[i].Witness < c.Cosigned[j].Witness })
	return c, f.enough(c)
}

// verify verifies one signature. It says whether that is the log's own.
func (f *File) verify(n *note.Note, s *note.Signature, c *Checkpoint) (isLog bool, err error) {
	for _, k := range f.logs {
		if s.Of(k) {
			if k.Name != c.Origin {
				return false, fmt.Errorf("the log %q has signed it, and it is of %q", k.Name, c.Origin)
			}
			_, err := n.Verify(s, k)
			return true, err
		}
	}
	for name, k := range f.witnesses {
		if s.Of(k) {
			at, err := n.Verify(s, k)
			c.Cosigned = append(c.Cosigned, Cosignature{name, at})
			return false, err
		}
	}
	return false, fmt.Errorf("%w: it is signed by %q with the key %08x, which has no line there: add that, or take the signature out if it is a witness's",
		ErrNoKey, s.Name, s.ID)
}

var errQuorum = errors.New("not enough witnesses have cosigned it")

// enough holds that the quorum is reached.
func (f *File) enough(c *Checkpoint) error {
	seen := map[string]bool{none: true}
	for _, s := range c.Cosigned {
		seen[s.Witness] = true
	}
	if !f.witnessed(f.quorum, seen) {
		return fmt.Errorf("%w: %d have, and the quorum is %q", errQuorum, len(c.Cosigned), f.quorum)
	}
	return nil
}

// witnessed: members are of lines before, so that this ends.
func (f *File) witnessed(name string, seen map[string]bool) bool {
	g, isGroup := f.groups[name]
	if !isGroup {
		return seen[name]
	}
	n := 0
	for _, m := range g.members {
		if f.witnessed(m, seen) {
			n++
		}
	}
	return n >= g.least
}
