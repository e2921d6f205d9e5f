package statement

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
)

// transparency are the leaves and the roots of the first of them that the tests of
// Certificate Transparency's implementations share.
var transparency = struct{ leaves, roots []string }{
	[]string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"},
	[]string{
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	},
}

func TestRootsOfTransparency(t *testing.T) {
	var leaves []Hash
	for at, text := range transparency.leaves {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, Leaf(data))
		if got := Root(leaves); hex.EncodeToString(got[:]) != transparency.roots[at] {
			t.Errorf("root of %d leaves is %x, want %s", at+1, got, transparency.roots[at])
		}
	}
	if Root(nil) != sha256.Sum256(nil) {
		t.Error("the root of nothing is not the hash of nothing (RFC 6962, section 2.1)")
	}
}

// mth is the definition of RFC 6962, section 2.1, word for word.
func mth(d []Hash) Hash {
	if len(d) == 1 {
		return d[0]
	}
	k := 1
	for 2*k < len(d) {
		k *= 2
	}
	left, right := mth(d[:k]), mth(d[k:])
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

func someLeaves(n int) []Hash {
	leaves := make([]Hash, n)
	for at := range leaves {
		leaves[at] = Leaf(fmt.Append(nil, at))
	}
	return leaves
}

// TestPaths: each leaf of each tree has a path to the root, and no other leaf, place,
// size or path has.
func TestPaths(t *testing.T) {
	for size := 1; size <= 70; size++ {
		leaves := someLeaves(size)
		root := Root(leaves)
		if root != mth(leaves) {
			t.Fatalf("root of %d leaves is not as defined", size)
		}
		for at := range leaves {
			path := Path(leaves, at)
			n := uint64(size)
			proves := func(leaf Hash, at, size uint64, path []Hash) bool {
				got, ok := RootOf(leaf, at, size, path)
				return ok && got == root
			}
			if !proves(leaves[at], uint64(at), n, path) {
				t.Fatalf("leaf %d of %d has no path", at, size)
			}
			if proves(Leaf([]byte("x")), uint64(at), n, path) || proves(leaves[at], n, n, path) || proves(leaves[at], uint64(at), n, append(path, root)) {
				t.Fatalf("another leaf, place or path proves %d of %d", at, size)
			}
			if len(path) > 0 && proves(leaves[at], uint64(at)^1, n, path) {
				t.Fatalf("the path of leaf %d of %d is one of its neighbour", at, size)
			}
			if len(path) > 0 && proves(leaves[at], uint64(at), n, path[:len(path)-1]) {
				t.Fatalf("a part of the path proves leaf %d of %d", at, size)
			}
		}
	}
}

// TestLeaf: as defined, without an allocation, however long the data.
func TestLeaf(t *testing.T) {
	for _, size := range []int{0, 1, 62, 63, 64, 500, 5000, 70_000} {
		data := make([]byte, size)
		if Leaf(data) != sha256.Sum256(append([]byte{0}, data...)) {
			t.Errorf("leaf of %d bytes", size)
		}
		if n := testing.AllocsPerRun(20, func() { Leaf(data) }); n > 0 {
			t.Errorf("%v allocations for %d bytes", n, size)
		}
	}
}
