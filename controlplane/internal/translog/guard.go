package translog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

// ErrRolledBack is of a tree that is not one that the log's last signed checkpoint is the
// beginning of: it was put back to what it was before, changed, or lost.
var ErrRolledBack = errors.New("the log has signed another tree than the one that is here")

// guard signs a log's checkpoints, each only if the one before is its beginning, and
// writes down what it signs before anybody has it. Once it has refused, it refuses
// everything.
type guard struct {
	note.Signer

	reader *Reader
	log    *zap.Logger

	mu   sync.Mutex // guards what follows
	last *Checkpoint
	err  error
}

// newGuard takes up what the log has signed, and holds the tree against it.
func newGuard(ctx context.Context, r *Reader, signer note.Signer, log *zap.Logger) (*guard, error) {
	g := &guard{Signer: signer, reader: r, log: log}
	size, root, err := r.tree()
	if err != nil {
		return nil, err
	}
	g.last, err = r.signed()
	if err != nil {
		return nil, err
	}
	switch {
	case g.last == nil && size == 0:
		return g, nil
	case g.last == nil:
		return nil, fmt.Errorf("%w: %s is gone, and there are %d entries: put it back from a copy, or have those who follow the log decide", ErrRolledBack, r.signedPath(), size)
	}
	return g, g.grown(ctx, &Checkpoint{Origin: g.last.Origin, Size: size, Root: root})
}

// grown says why a tree does not have the last that was signed as its beginning; nil if it does.
func (g *guard) grown(ctx context.Context, to *Checkpoint) error {
	from := g.last
	switch {
	case from == nil || from.Size == 0:
		return nil
	case to.Size < from.Size:
		return fmt.Errorf("%w: it has signed %d entries with the root %x, and has %d: put back the log's directory as it was last; what is gone is not made up for",
			ErrRolledBack, from.Size, from.Root, to.Size)
	}
	if err := g.reader.consistent(ctx, from, to); err != nil {
		return fmt.Errorf("%w: %w", forked(from, to.Size, to.Root), err)
	}
	return nil
}

// forked is of a tree that does not have what was signed as its beginning.
func forked(signed *Checkpoint, size uint64, root hash) error {
	return fmt.Errorf("%w: it has signed %d entries with the root %x, which are not the first ones of %d with the root %x",
		ErrRolledBack, signed.Size, signed.Root, size, root)
}

// Sign implements note.Signer.
func (g *guard) Sign(text []byte) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return nil, g.err
	}
	signature, err := g.sign(text)
	if err != nil {
		g.log.Error("log signs nothing more", zap.String("origin", g.Name()), zap.Error(err))
		g.err = err
	}
	return signature, err
}

func (g *guard) sign(text []byte) ([]byte, error) {
	to, err := parseCheckpoint(string(text))
	if err != nil {
		return nil, err
	}
	if to.Origin != g.Name() {
		return nil, fmt.Errorf("the checkpoint is of %q", to.Origin)
	}
	if err := g.grown(context.Background(), to); err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: string(text)}, g.Signer)
	if err != nil {
		return nil, err
	}
	if err := durable.Replace(g.reader.signedPath(), signed, 0o600); err != nil {
		return nil, fmt.Errorf("write down what is signed: %w", err)
	}
	to.Note, g.last = signed, to
	return g.Signer.Sign(text)
}

// failed is why nothing is signed any more; nil while it is.
func (g *guard) failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (r *Reader) signedPath() string { return filepath.Join(r.dir, signedName) }

// signed is the last checkpoint that was signed; nil if none was.
func (r *Reader) signed() (*Checkpoint, error) {
	c, err := r.checkpointIn(r.signedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return c, err
}

// consistent holds that a tree is the beginning of another.
func (r *Reader) consistent(ctx context.Context, from, to *Checkpoint) error {
	if to.Size == 0 || from.Size == 0 {
		return nil
	}
	builder, err := client.NewProofBuilder(ctx, to.Size, r.fetch.ReadTile)
	if err != nil {
		return err
	}
	var path [][]byte
	if from.Size < to.Size {
		if path, err = builder.ConsistencyProof(ctx, from.Size, to.Size); err != nil {
			return err
		}
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, from.Size, to.Size, path, from.Root[:], to.Root[:])
}

// emptyRoot is the root of a tree without leaves.
var emptyRoot = sha256.Sum256(nil)
