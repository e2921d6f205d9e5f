// Package sdk calls through the mesh with other people's clients, unmodified.
// It holds tests only.
package sdk
