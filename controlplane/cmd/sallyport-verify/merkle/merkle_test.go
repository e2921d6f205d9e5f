package merkle

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func leaves(n int) (all []Hash) {
	for i := range n {
		all = append(all, Leaf(fmt.Appendf(nil, "leaf %d", i)))
	}
	return all
}

// reader is a tree of x/mod.
type reader []tlog.Hash

func (r reader) ReadHashes(indexes []int64) (all []tlog.Hash, err error) {
	for _, i := range indexes {
		all = append(all, r[i])
	}
	return all, nil
}

func grow(t testing.TB, n int) (r reader) {
	for i := range n {
		hashes, err := tlog.StoredHashes(int64(i), fmt.Appendf(nil, "leaf %d", i), r)
		if err != nil {
			t.Fatal(err)
		}
		r = append(r, hashes...)
	}
	return r
}

// TestLikeTlog: roots and paths are those of x/mod's tlog, for every leaf of every size.
func TestLikeTlog(t *testing.T) {
	const most = 70
	r, all := grow(t, most), leaves(most)
	var tree Tree
	for size := range most {
		root := must(tlog.TreeHash(int64(size), r))(t)
		if tree.Root() != Hash(root) && size > 0 || tree.Size() != uint64(size) {
			t.Fatalf("root of %d leaves %x, want %x", tree.Size(), tree.Root(), root)
		}
		for at := range size {
			path := hashes(must(tlog.ProveRecord(int64(size), int64(at), r))(t))
			if got, err := Root(all[at], uint64(at), uint64(size), path); err != nil || got != Hash(root) {
				t.Errorf("leaf %d of %d comes to %x (%v), want %x", at, size, got, err, root)
			}
			wrong(t, all[at], uint64(at), uint64(size), path, Hash(root))
		}
		tree.Add(all[size])
	}
	tree.Reset()
	if tree.Root() != Empty {
		t.Error("an empty tree has another root")
	}
}

// wrong holds that the path is of no other place, size or length.
func wrong(t *testing.T, leaf Hash, at, size uint64, path []Hash, root Hash) {
	t.Helper()
	for other := range size + 1 {
		if got, err := Root(leaf, other, size, path); err == nil && got == root && other != at {
			t.Errorf("the path of leaf %d of %d is one of %d, too", at, size, other)
		}
	}
	if len(path) > 0 {
		if _, err := Root(leaf, at, size, path[1:]); err == nil {
			t.Errorf("a shorter path of leaf %d of %d is one", at, size)
		}
	}
	if _, err := Root(leaf, at, size, append(path[:len(path):len(path)], leaf)); err == nil {
		t.Errorf("a longer path of leaf %d of %d is one", at, size)
	}
}

func hashes(proof tlog.RecordProof) (all []Hash) {
	for _, h := range proof {
		all = append(all, Hash(h))
	}
	return all
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestPath: hashes one after another.
func TestPath(t *testing.T) {
	if p, err := Path(make([]byte, 96)); err != nil || len(p) != 3 {
		t.Error(p, err)
	}
	for _, n := range []int{1, 33, 65 * 32} {
		if p, err := Path(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are %d hashes", n, len(p))
		}
	}
}

// TestFar: places of trees of any size.
func TestFar(t *testing.T) {
	const size = 1 << 62
	if _, err := Root(Hash{}, size-1, size, make([]Hash, 62)); err != nil {
		t.Error(err)
	}
	for _, at := range []uint64{size, 1<<64 - 1} {
		if _, err := Root(Hash{}, at, size, make([]Hash, 62)); err == nil {
			t.Errorf("place %d of %d", at, uint64(size))
		}
	}
	if _, err := Root(Hash{}, 0, 0, nil); err == nil {
		t.Error("a leaf of an empty tree")
	}
}
