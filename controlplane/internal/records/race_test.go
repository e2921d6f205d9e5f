//go:build race

package records

// few is by how much less a test does under the race detector, which slows SQLite down
// twentyfold.
const few = 4
