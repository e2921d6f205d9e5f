package translog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// Reader reads a log, which may be open for appending elsewhere. It is safe for concurrent
// use.
type Reader struct {
	dir      string
	verifier note.Verifier
	vkey     string
	fetch    client.FileFetcher
}

// OpenReader reads the log in a directory. The error is fs.ErrNotExist if there is none.
func OpenReader(dir string) (*Reader, error) {
	v, vkey, err := verifierOf(dir)
	if err != nil {
		return nil, err
	}
	return &Reader{dir: dir, verifier: v, vkey: vkey, fetch: client.FileFetcher{Root: filepath.Join(dir, tilesName)}}, nil
}

// Origin is the log's name.
func (r *Reader) Origin() string { return r.verifier.Name() }

// Key is the log's public key, as C2SP signed-note writes it.
func (r *Reader) Key() string { return r.vkey }

// Checkpoint is the last one that was published, with the log's signature. The error is
// fs.ErrNotExist before the first.
func (r *Reader) Checkpoint(context.Context) (*Checkpoint, error) {
	return r.checkpointIn(filepath.Join(r.tiles(), layout.CheckpointPath))
}

// checkpointIn reads a file with a checkpoint that the log has signed.
func (r *Reader) checkpointIn(path string) (*Checkpoint, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := openCheckpoint(text, r.verifier)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// statePath is the file of what Tessera has integrated.
func (r *Reader) statePath() string { return filepath.Join(r.tiles(), ".state", "treeState") }

// tree is what Tessera has integrated: its size and root. Nobody has signed that.
func (r *Reader) tree() (size uint64, root [sha256.Size]byte, err error) {
	path := r.statePath()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, emptyRoot, nil
	}
	if err != nil {
		return 0, root, err
	}
	var state struct {
		Size uint64 `json:"size"`
		Root []byte `json:"root"`
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return 0, root, fmt.Errorf("%s: %w: put back the log's directory as it was last", path, err)
	}
	if state.Size == 0 {
		return 0, emptyRoot, nil
	}
	if len(state.Root) != sha256.Size {
		return 0, root, fmt.Errorf("%s: a root of %d bytes", path, len(state.Root))
	}
	return state.Size, [sha256.Size]byte(state.Root), nil
}

// Inclusion is the audit path of an entry in a tree of that size.
func (r *Reader) Inclusion(ctx context.Context, index, size uint64) ([][]byte, error) {
	builder, err := client.NewProofBuilder(ctx, size, r.fetch.ReadTile)
	if err != nil {
		return nil, err
	}
	return builder.InclusionProof(ctx, index)
}

// Consistency is the proof that a tree of one size is the beginning of one of another.
func (r *Reader) Consistency(ctx context.Context, from, to uint64) ([][]byte, error) {
	builder, err := client.NewProofBuilder(ctx, to, r.fetch.ReadTile)
	if err != nil {
		return nil, err
	}
	return builder.ConsistencyProof(ctx, from, to)
}

// raw are the encoded entries of a tree of that size from an index on, in order. It tells
// failed why it ends early. The size has to be one that the tree once had: of
// others there are no partial bundles.
func (r *Reader) raw(ctx context.Context, from, size uint64, failed func(error)) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for from < size {
			bundle, err := client.GetEntryBundle(ctx, r.fetch.ReadEntryBundle, from/bundleWidth, size)
			if err != nil {
				failed(fmt.Errorf("entries from %d on: %w", from, err))
				return
			}
			entries := within(bundle, from)
			if len(entries) == 0 {
				failed(fmt.Errorf("entry %d: the bundle that it is in has fewer", from))
				return
			}
			for _, data := range entries {
				if from == size || !yield(from, data) {
					return
				}
				from++
			}
		}
	}
}

// bundleWidth is how many entries a bundle has, as C2SP tlog-tiles has it.
const bundleWidth = 256

// within are a bundle's entries from an index on.
func within(b api.EntryBundle, from uint64) [][]byte {
	return b.Entries[min(from%bundleWidth, uint64(len(b.Entries))):]
}

// Entries are the entries of a tree of that size from an index on, in order.
func (r *Reader) Entries(ctx context.Context, from, size uint64) iter.Seq2[*logv1.Entry, error] {
	return func(yield func(*logv1.Entry, error) bool) {
		var fault error
		for i, data := range r.raw(ctx, from, size, func(err error) { fault = err }) {
			e := new(logv1.Entry)
			if err := proto.Unmarshal(data, e); err != nil {
				yield(nil, fmt.Errorf("entry %d: %w", i, err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		if fault != nil {
			yield(nil, fault)
		}
	}
}

// Find is the first entry that was taken at that time or later and that is what is looked
// for, of a tree of that size.
func (r *Reader) Find(ctx context.Context, size uint64, since time.Time, is func(*logv1.Entry) bool) (index uint64, data []byte, found bool, err error) {
	from := uint64(sort.Search(int(size), func(i int) bool { //nolint:gosec // a tree has less than 2^63 entries
		for e, readErr := range r.Entries(ctx, uint64(i), size) { //nolint:gosec // as above
			if readErr != nil {
				err = readErr
				return true
			}
			return !e.GetAt().AsTime().Before(since)
		}
		return true
	}))
	if err != nil {
		return 0, nil, false, err
	}
	for i, data := range r.raw(ctx, from, size, func(failed error) { err = failed }) {
		e := new(logv1.Entry)
		if err := proto.Unmarshal(data, e); err != nil {
			return 0, nil, false, fmt.Errorf("entry %d: %w", i, err)
		}
		if is(e) {
			return i, data, true, nil
		}
	}
	return 0, nil, false, err
}

// Bundles are the entry bundles of a tree of that size, as they are served: entries, each
// behind its length in two bytes, big-endian. The last one has what is left.
func (r *Reader) Bundles(ctx context.Context, size uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var bundle []byte
		var fault error
		for i, data := range r.raw(ctx, 0, size, func(err error) { fault = err }) {
			bundle = appendEntry(bundle, data)
			if i%bundleWidth == bundleWidth-1 || i == size-1 {
				if !yield(bundle, nil) {
					return
				}
				bundle = nil
			}
		}
		if fault != nil {
			yield(nil, fault)
		}
	}
}

// appendEntry appends an entry to a bundle, as C2SP tlog-tiles has it.
func appendEntry(bundle, data []byte) []byte {
	bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(data))) //nolint:gosec // at most MaxEntry
	return append(bundle, data...)
}
