package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport-mesh/sallyport/certs/durable"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Hold keeps records beyond their retention, for as long as it is there: those of an
// owner, and those of some identities. Workloads that have a label are named by their
// identities: what labels a policy gives can change, and what is held must not.
type Hold struct {
	// Name of the hold, such as that of a case.
	Name string `json:"name"`
	// Owner of transitions.
	Owner string `json:"owner,omitempty"`
	// Identities are SPIFFE IDs of sources or destinations.
	Identities []string `json:"identities,omitempty"`
}

func (h Hold) holds(r *crossingv1.Record) bool {
	return h.Owner != "" && h.Owner == r.GetTransition().GetOwner() ||
		slices.Contains(h.Identities, r.GetSource()) || slices.Contains(h.Identities, r.GetDestination())
}

func (h Hold) check() error {
	switch {
	case h.Name == "":
		return fmt.Errorf("a hold without a name: %w", ErrInvalid)
	case h.Owner == "" && len(h.Identities) == 0:
		return fmt.Errorf("hold %q is of no owner and no identities: %w", h.Name, ErrInvalid)
	case slices.Contains(h.Identities, ""):
		return fmt.Errorf("hold %q is of an empty identity: %w", h.Name, ErrInvalid)
	}
	return nil
}

func anyHolds(all []Hold, r *crossingv1.Record) bool {
	return slices.ContainsFunc(all, func(h Hold) bool { return h.holds(r) })
}

// holds are kept in a file beside the database, which may have to be set aside.
type holds struct {
	path string
	mu   sync.Mutex
	kept []Hold // by name
}

func openHolds(dir string) (*holds, error) {
	h := &holds{path: filepath.Join(dir, "holds.json")}
	content, err := os.ReadFile(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &h.kept)
	}
	if err != nil {
		return nil, fmt.Errorf("holds %q: %w; put it right: without it records that are held would be removed", h.path, err)
	}
	return h, nil
}

// all that there are. What is given must not be changed.
func (h *holds) all() []Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept
}

// change the holds by name, durably.
func (h *holds) change(name string, to ...Hold) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(h.kept), func(o Hold) bool { return o.Name == name })
	next = append(next, to...)
	slices.SortFunc(next, func(a, b Hold) int { return strings.Compare(a.Name, b.Name) })
	content, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Replace(h.path, content, 0o600); err != nil {
		return err
	}
	h.kept = next
	return nil
}

// Hold keeps records beyond their retention. See Keeper.
func (s *SQLite) Hold(ctx context.Context, h Hold) error {
	if err := errors.Join(ctx.Err(), h.check()); err != nil {
		return err
	}
	h.Identities = slices.Clone(h.Identities)
	return s.explain(s.holds.change(h.Name, h))
}

// Release ends a hold. See Keeper.
func (s *SQLite) Release(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !slices.ContainsFunc(s.holds.all(), func(h Hold) bool { return h.Name == name }) {
		return fmt.Errorf("no hold is called %q: %w", name, ErrInvalid)
	}
	return s.explain(s.holds.change(name))
}

// Holds are those that there are. See Keeper.
func (s *SQLite) Holds(ctx context.Context) ([]Hold, error) {
	return slices.Clone(s.holds.all()), ctx.Err()
}
