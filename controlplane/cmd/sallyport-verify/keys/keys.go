// Package keys reads the file that says whom an auditor believes: logs, the witnesses that
// must have seen their checkpoints, gateways' statement keys, and trust domains' roots. It
// is a trust policy of C2SP tlog-policy with lines of ours; ../FORMAT.md specifies those.
//
// The one invariant: what is not named there is not believed. A signature of somebody else
// is no reason to believe anything, and what nobody can judge is said to be so.
package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/note"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
)

// MaxFile is the largest file of keys, in bytes.
const MaxFile = 16 << 20

// ErrNoKey is of what was signed with a key that the file does not have: whether it is
// right, nobody can tell.
var ErrNoKey = errors.New("the keys file does not say whether to believe it")

// File is one that was read.
type File struct {
	logs      []*note.Key
	witnesses map[string]*note.Key
	groups    map[string]group
	members   map[string]bool // names that are a member of a group already
	quorum    string
	gateways  map[string]map[[sha256.Size]byte]ed25519.PublicKey // by SPIFFE ID, by the SHA-256 of the key
	roots     map[string][]*x509.Certificate                     // by trust domain
}

// group is witnessed if at least so many of its members are.
type group struct {
	least   int
	members []string
}

// none is the quorum that asks for no cosignature.
const none = "none"

// Parse reads a file of keys.
func Parse(data []byte) (*File, error) {
	f := &File{
		witnesses: map[string]*note.Key{}, groups: map[string]group{}, members: map[string]bool{},
		gateways: map[string]map[[sha256.Size]byte]ed25519.PublicKey{}, roots: map[string][]*x509.Certificate{},
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%d bytes, the most is %d", len(data), MaxFile)
	}
	at := 0
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		at++
		if err := f.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
	switch {
	case f.quorum != "":
	case len(f.witnesses) > 0:
		return nil, errors.New("it has witnesses, and no line that says which of them are enough: add \"quorum NAME\", or \"quorum none\"")
	default:
		f.quorum = none
	}
	return f, nil
}

func (f *File) line(line []byte) error {
	for _, b := range line {
		if b != '\t' && (b < 0x20 || b == 0x7f) {
			return errors.New("it has control characters")
		}
	}
	items := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(items) == 0 || items[0][0] == '#' {
		return nil
	}
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = string(item)
	}
	args := words[1:]
	switch words[0] {
	case "log":
		return f.log(args)
	case "witness":
		return f.witness(args)
	case "group":
		return f.group(args)
	case "quorum":
		return f.setQuorum(args)
	case "gateway":
		return f.gateway(args)
	case "root":
		return f.root(args)
	}
	return fmt.Errorf("it begins with %.40q, want log, witness, group, quorum, gateway or root", words[0])
}

func (f *File) log(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("want log VKEY [URL]")
	}
	k, err := note.ParseKey(args[0])
	if err != nil {
		return err
	}
	if k.Type != note.Ed25519 {
		return fmt.Errorf("the key of %q is a witness's", k.Name)
	}
	for _, other := range f.logs {
		if bytes.Equal(other.Public, k.Public) {
			return fmt.Errorf("the key of %q is there twice", k.Name)
		}
	}
	f.logs = append(f.logs, k)
	return nil
}

func (f *File) witness(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return errors.New("want witness NAME VKEY [URL]")
	}
	k, err := note.ParseKey(args[1])
	switch {
	case err != nil:
		return err
	case k.Type != note.Cosignature:
		return fmt.Errorf("the key of %q is none of a witness", k.Name)
	case f.defined(args[0]):
		return fmt.Errorf("the name %.40q is there twice", args[0])
	}
	for _, other := range f.witnesses {
		if bytes.Equal(other.Public, k.Public) {
			return fmt.Errorf("the key of %q is there twice", k.Name)
		}
	}
	f.witnesses[args[0]] = k
	return nil
}

// defined says that a name means something already.
func (f *File) defined(name string) bool {
	_, isGroup := f.groups[name]
	return name == none || isGroup || f.witnesses[name] != nil
}

func (f *File) group(args []string) error {
	if len(args) < 3 {
		return errors.New("want group NAME all|any|K and its members")
	}
	name, members := args[0], args[2:]
	if f.defined(name) {
		return fmt.Errorf("the name %.40q is there twice", name)
	}
	for _, m := range members {
		if m == none || !f.defined(m) {
			return fmt.Errorf("%.40q is no witness and no group of a line before", m)
		}
		if f.members[m] {
			return fmt.Errorf("%.40q is a member twice", m)
		}
		f.members[m] = true
	}
	g := group{members: members}
	switch args[1] {
	case "all":
		g.least = len(members)
	case "any":
		g.least = 1
	default:
		k, err := note.ParseDecimal(args[1])
		if err != nil || k < 1 || k > uint64(len(members)) {
			return fmt.Errorf("%.40q is none of all, any and 1 to %d", args[1], len(members))
		}
		g.least = int(k) //nolint:gosec // it is at most len(members)
	}
	f.groups[name] = g
	return nil
}

func (f *File) setQuorum(args []string) error {
	switch {
	case len(args) != 1:
		return errors.New("want quorum NAME")
	case f.quorum != "":
		return errors.New("there is a quorum already")
	case !f.defined(args[0]):
		return fmt.Errorf("%.40q is no witness and no group of a line before", args[0])
	}
	f.quorum = args[0]
	return nil
}

func (f *File) gateway(args []string) error {
	if len(args) != 2 {
		return errors.New("want gateway SPIFFE-ID BASE64")
	}
	if _, err := spiffe.TrustDomain(args[0]); err != nil {
		return err
	}
	key, err := note.Decode(args[1])
	if err != nil || len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("the key of %s is no base64 of %d bytes", args[0], ed25519.PublicKeySize)
	}
	if f.gateways[args[0]] == nil {
		f.gateways[args[0]] = map[[sha256.Size]byte]ed25519.PublicKey{}
	}
	f.gateways[args[0]][sha256.Sum256(key)] = key
	return nil
}

func (f *File) root(args []string) error {
	if len(args) != 2 {
		return errors.New("want root TRUST-DOMAIN BASE64")
	}
	if !spiffe.IsTrustDomain(args[0]) {
		return fmt.Errorf("%.256q is no trust domain", args[0])
	}
	der, err := note.Decode(args[1])
	if err != nil {
		return fmt.Errorf("the root of %s is no base64", args[0])
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("the root of %s: %w", args[0], err)
	}
	f.roots[args[0]] = append(f.roots[args[0]], root)
	return nil
}

// Gateway is the statement key of a gateway that has that ID; ErrNoKey if the file does
// not have it.
func (f *File) Gateway(gateway string, id [sha256.Size]byte) (ed25519.PublicKey, error) {
	if key := f.gateways[gateway][id]; key != nil {
		return key, nil
	}
	return nil, fmt.Errorf("%w: it has no statement key %x... of %s: add its gateway line", ErrNoKey, id[:4], strings.TrimPrefix(gateway, "spiffe://"))
}

// Roots are those of a trust domain.
func (f *File) Roots(trustDomain string) []*x509.Certificate { return f.roots[trustDomain] }
