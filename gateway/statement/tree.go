package statement

// Leaf is the hash of a leaf (RFC 6962, section 2.1).
func Leaf(data []byte) Hash { panic("to come") }

// Root is the Merkle tree hash of leaves that Leaf gave.
func Root(leaves []Hash) Hash { panic("to come") }

// Path is the audit path of the leaf at that place, from the leaf up (RFC 6962,
// section 2.1.1).
func Path(leaves []Hash, at int) []Hash { panic("to come") }

// RootOf is the root that a leaf at that place among so many comes to with that
// path; false if it is no path of such a tree.
func RootOf(leaf Hash, at, size uint64, path []Hash) (Hash, bool) { panic("to come") }
