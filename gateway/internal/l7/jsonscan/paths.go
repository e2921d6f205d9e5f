package jsonscan

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Bounds of what can be asked for.
const (
	maxNodes = 64 // a bit each in Scanner.seen
	maxSteps = 15 // of one pointer
)

// Paths are the places in a document that somebody asked for. They are
// immutable and meant to be shared by all scanners of one kind.
type Paths struct {
	root    node
	nodes   int
	keyRoom int  // the longest key in bytes, in its longest form under case folding
	any     bool // somewhere any member is asked for
}

// node is a place that was asked for, or one on the way there.
type node struct {
	path    int    // index of its pointer; -1 if it is only on the way
	glance  bool   // of a string there it is only told whether it is empty
	key     []byte // in the object above
	bit     uint64 // in Scanner.seen
	below   uint64 // the bits of all nodes under it
	members []*node
	starts  [2]uint64 // the bits of bytes in ASCII that keys may begin with which are alike
	each    *node     // the elements, if it is an array
	any     *node     // the members that are none of those, if it is an object
}

// Compile reads JSON Pointers (RFC 6901): "" is the whole document, "/a/b" a
// member of a member, with "~1" for "/" and "~0" for "~". A step "*" is every
// element of an array, and "{}" every member of an object that no other pointer names:
// of those it is not told whether two have one key. With a "?" before it, a pointer asks only what kind of value
// is there, and of a string whether it is empty: that may be of any length, and say
// anything. A pointer that is malformed, given twice, or of more
// than 15 steps is an error, and so are more than 64 places on the ways.
func Compile(pointers ...string) (*Paths, error) {
	p := &Paths{root: node{path: -1}}
	for i, pointer := range pointers {
		if err := p.add(i, pointer); err != nil {
			return nil, fmt.Errorf("pointer %q: %w", pointer, err)
		}
	}
	p.root.sum()
	return p, nil
}

// MustCompile is Compile for constants: it panics where that has an error.
func MustCompile(pointers ...string) *Paths {
	p, err := Compile(pointers...)
	if err != nil {
		panic(err)
	}
	return p
}

func (p *Paths) add(i int, pointer string) error {
	n := &p.root
	pointer, glance := strings.CutPrefix(pointer, "?")
	if pointer != "" {
		steps := strings.Split(pointer, "/")
		if steps[0] != "" || len(steps)-1 > maxSteps {
			return fmt.Errorf("not of 1 to %d steps that begin with a slash", maxSteps)
		}
		for _, step := range steps[1:] {
			if n = p.step(n, step); p.nodes > maxNodes {
				return fmt.Errorf("more than %d places", maxNodes)
			}
		}
	}
	if n.path >= 0 {
		return fmt.Errorf("also given as number %d", n.path)
	}
	n.path, n.glance = i, glance
	return nil
}

// step is the node one step under n, which is made if need be.
func (p *Paths) step(n *node, step string) *node {
	if step == "*" {
		if n.each == nil {
			n.each = p.node(nil)
		}
		return n.each
	}
	if step == "{}" {
		if n.any == nil {
			n.any, p.any = p.node(nil), true
		}
		return n.any
	}
	key := []byte(strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
	for _, m := range n.members {
		if bytes.Equal(m.key, key) {
			return m
		}
	}
	m := p.node(key)
	n.members = append(n.members, m)
	n.begins(key)
	return m
}

func (p *Paths) node(key []byte) *node {
	// No letter of a key in ASCII is longer than three bytes in another case:
	// U+212A is a "K". Others keep within a factor of three, too.
	p.keyRoom = max(p.keyRoom, 3*len(key))
	n := &node{path: -1, key: key, bit: 1 << p.nodes}
	p.nodes++
	return n
}

// sum fills in below, and gives it with the node's own bit.
func (n *node) sum() uint64 {
	for _, m := range n.members {
		n.below |= m.sum()
	}
	for _, m := range [...]*node{n.each, n.any} {
		if m != nil {
			n.below |= m.sum()
		}
	}
	return n.below | n.bit
}

// begins notes how keys may begin that are alike: for "" and what is no ASCII, in
// any way.
func (n *node) begins(key []byte) {
	if len(key) == 0 || key[0] >= utf8.RuneSelf {
		n.starts = [2]uint64{math.MaxUint64, math.MaxUint64}
		return
	}
	for _, c := range bytes.ToUpper(key[:1]) {
		n.starts[c>>6] |= 1 << (c & 63)
	}
	for _, c := range bytes.ToLower(key[:1]) {
		n.starts[c>>6] |= 1 << (c & 63)
	}
}

// find is the member of that key, nil if nobody asked for it. alike says that
// the key is another spelling of one that was asked for: readers that do not
// mind the case of keys (Go's encoding/json is one) would take it for that.
func (n *node) find(key []byte) (m *node, alike bool) {
	if len(key) > 0 && key[0] < utf8.RuneSelf && n.starts[key[0]>>6]>>(key[0]&63)&1 == 0 {
		return nil, false
	}
	for _, m := range n.members {
		switch {
		case m.differs(key):
		case string(m.key) == string(key):
			return m, false
		default:
			alike = alike || bytes.EqualFold(m.key, key)
		}
	}
	return nil, alike
}

// differs says that a key is no spelling of the node's own, by its first byte. It need
// not find that.
func (n *node) differs(key []byte) bool {
	const shift = 'a' - 'A'
	return len(key) > 0 && len(n.key) > 0 && key[0] < utf8.RuneSelf && n.key[0] < utf8.RuneSelf && (key[0]^n.key[0])&^shift != 0
}
