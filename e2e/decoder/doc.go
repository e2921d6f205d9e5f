// Package decoder holds the formats of records and statements from outside: a second
// decoder, in Python, which was written from gateway/crossing/FORMAT.md,
// gateway/statement/FORMAT.md and the .proto files, must read every vector as the first
// one does, and refuse what that refuses. It holds tests only.
package decoder
