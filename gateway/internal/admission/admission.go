// Package admission holds what an exchange moves against the digests that intents allow.
// What counts is the SHA-256 of a message's content as it passes; a digest in a name or in a
// head only tells earlier that it will not do.
//
// One invariant: nobody has the last byte of a content before its digest is known to be
// allowed.
package admission

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// Sum is the SHA-256 of a content.
type Sum [sha256.Size]byte

// String is the digest as registries write it: "sha256:" and 64 hex digits.
func (s Sum) String() string { return "sha256:" + hex.EncodeToString(s[:]) }

// Error is why something does not move. Its text is for the record and for the caller: it
// has digests, and nothing of the content.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Control judges one exchange. A nil one lets everything pass.
type Control struct {
	lists   []policy.Digests
	memory  *Memory
	parties transfer.Parties
}

// New judges an exchange between those parties. What moves must be of one digest of each
// list, or be named by what is, as far as the memory knows; it may be nil. Without lists
// anything may move, and the Control is nil.
func New(lists []policy.Digests, m *Memory, p transfer.Parties) *Control {
	if len(lists) == 0 {
		return nil
	}
	return &Control{lists, m, p}
}

// place is where what a manifest names was named.
func (c *Control) place() Place {
	return Place{c.parties.Caller, c.parties.Destination, c.parties.Service}
}

// oci says that the service is an OCI registry.
func (c *Control) oci() bool { return c.parties.Protocol == "oci" }

// allows says that content of a digest may move.
func (c *Control) allows(s Sum) bool {
	for _, list := range c.lists {
		if !c.memory.reaches(c.place(), s, list) {
			return false
		}
	}
	return true
}

// hint is what a caller may do about a digest that is not allowed.
func (c *Control) hint() string {
	if c.oci() {
		return "; if an allowed manifest names it, pull its manifest first"
	}
	return ""
}

// aside is how much content an answer may have that carries no object, such as an error,
// in bytes.
const aside = 64 << 10

// pong is how much a registry may say to a ping, such as "{}", in bytes.
const pong = 16

// isPing says that a request asks only whether there is a registry (OCI distribution
// specification, end-1).
func (c *Control) isPing(req *l7.RequestHead) bool {
	return c.oci() && (req.Path == "/v2/" || req.Path == "/v2")
}

// named is the digest that the path of a blob or a manifest names it by; false if it is
// named otherwise. One in another algorithm, or in an escape that only some servers undo,
// tells nothing.
func named(target string) (s Sum, ok bool) {
	path, _, _ := strings.Cut(target, "?")
	i := strings.LastIndexByte(path, '/')
	if i < 0 || !strings.HasSuffix(path[:i], "/blobs") && !strings.HasSuffix(path[:i], "/manifests") {
		return s, false
	}
	return policy.ParseSHA256(path[i+1:])
}
