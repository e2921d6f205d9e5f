// Package decoder holds the record's format from outside: a second decoder, in Python,
// which was written from gateway/crossing/FORMAT.md and the .proto files alone, must
// read every vector as the first one does, and refuse what that refuses.
package decoder
