// Package interop holds the HTTP path from outside: programs that others wrote
// speak through a whole mesh, as clients and as destinations, and what a
// hostile client says is compared at both ends. It holds tests only.
package interop
