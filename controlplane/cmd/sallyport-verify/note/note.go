// Package note reads signed notes (C2SP signed-note), checkpoints of logs (C2SP
// tlog-checkpoint) and the cosignatures of witnesses (C2SP tlog-cosignature, Ed25519).
//
// The one invariant: no byte of a note is free. What it reads, it would write again
// byte for byte.
package note

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxSize is the largest note, in bytes.
	MaxSize = 1 << 16
	// maxSignatures is the most that a note has.
	maxSignatures = 64
)

// Types of keys (C2SP signed-note, "Signature types").
const (
	// Ed25519 signs a note's text.
	Ed25519 = 0x01
	// Cosignature signs a checkpoint with a time before it.
	Cosignature = 0x04
)

// strict takes no other base64 than the one that an encoder writes.
var strict = base64.StdEncoding.Strict()

// Decode decodes base64 of a line, strictly. Line feeds, which Go's decoder passes over,
// are in none.
func Decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("base64 with a line break in it")
	}
	return strict.DecodeString(text)
}

// Key is a public key that a name belongs to.
type Key struct {
	// Name of whose it is.
	Name string
	// ID is what signatures name it by, beside the name.
	ID uint32
	// Type is Ed25519 or Cosignature.
	Type byte
	// Public is the key.
	Public ed25519.PublicKey
}

// ParseKey reads a verifier key, as a signed-note's vkey.
func ParseKey(vkey string) (*Key, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	id, encoded, found := strings.Cut(rest, "+")
	data, err := Decode(encoded)
	switch {
	case !found || !isName(name):
		return nil, errors.New("a key is NAME+ID+BASE64")
	case err != nil:
		return nil, fmt.Errorf("key of %q: %w", name, err)
	case len(data) == 0 || data[0] != Ed25519 && data[0] != Cosignature:
		return nil, fmt.Errorf("key of %q: it is neither of type %d nor of type %d: no other is known here", name, Ed25519, Cosignature)
	case len(data) != 1+ed25519.PublicKeySize:
		return nil, fmt.Errorf("key of %q: %d bytes, want %d", name, len(data), 1+ed25519.PublicKeySize)
	}
	k := &Key{Name: name, ID: keyID(name, data), Type: data[0], Public: data[1:]}
	if want := hex.EncodeToString(binary.BigEndian.AppendUint32(nil, k.ID)); id != want {
		return nil, fmt.Errorf("key of %q: its ID is %.16q, and the key's is %s", name, id, want)
	}
	return k, nil
}

func keyID(name string, typed []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{'\n'})
	h.Write(typed)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// isName says that it can be the name of a key.
func isName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsSpace) && !strings.Contains(name, "+")
}

// Signature is one line of a note.
type Signature struct {
	// Name and ID of the key that is said to have signed.
	Name string
	ID   uint32
	// Value is what its type has it.
	Value []byte
}

// Note is a text, and who is said to have signed it.
type Note struct {
	// Text ends with a line feed.
	Text []byte
	// Signatures in the order of their lines.
	Signatures []Signature
}

var (
	errForm  = errors.New("it is no signed note: want a text, an empty line, and lines of signatures")
	errChars = errors.New("it is no signed note: it is not UTF-8, or has control characters")
)

// Parse reads a note. It verifies nothing.
func Parse(data []byte) (*Note, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("a signed note of %d bytes, the most is %d", len(data), MaxSize)
	}
	if !utf8.Valid(data) || bytes.ContainsFunc(data, func(r rune) bool { return r < 0x20 && r != '\n' }) {
		return nil, errChars
	}
	at := bytes.LastIndex(data, []byte("\n\n"))
	if at < 0 || !bytes.HasSuffix(data, []byte("\n")) {
		return nil, errForm
	}
	n := &Note{Text: data[:at+1]}
	lines := strings.Split(strings.TrimSuffix(string(data[at+2:]), "\n"), "\n")
	if len(lines) > maxSignatures {
		return nil, fmt.Errorf("a signed note with %d signatures, the most is %d", len(lines), maxSignatures)
	}
	for _, line := range lines {
		s, err := parseSignature(line)
		if err != nil {
			return nil, err
		}
		n.Signatures = append(n.Signatures, s)
	}
	return n, nil
}

func parseSignature(line string) (Signature, error) {
	rest, dash := strings.CutPrefix(line, "— ")
	name, encoded, found := strings.Cut(rest, " ")
	if !dash || !found || !isName(name) {
		return Signature{}, fmt.Errorf("it is no line of a signature: %.100q", line)
	}
	data, err := Decode(encoded)
	if err != nil || len(data) < 5 {
		return Signature{}, fmt.Errorf("the signature of %q is none", name)
	}
	return Signature{Name: name, ID: binary.BigEndian.Uint32(data), Value: data[4:]}, nil
}

// Of says that the signature is said to be the key's.
func (s *Signature) Of(k *Key) bool { return s.Name == k.Name && s.ID == k.ID }

// Verify holds that a key signed the text. Of a cosignature, at is when.
func (n *Note) Verify(s *Signature, k *Key) (at time.Time, err error) {
	if k.Type == Cosignature {
		return n.verifyCosignature(s, k)
	}
	if len(s.Value) != ed25519.SignatureSize || !ed25519.Verify(k.Public, n.Text, s.Value) {
		return at, fmt.Errorf("the signature of %q is not right", s.Name)
	}
	return at, nil
}

// verifyCosignature: C2SP tlog-cosignature, "Ed25519 signed message".
func (n *Note) verifyCosignature(s *Signature, k *Key) (at time.Time, err error) {
	wrong := fmt.Errorf("the cosignature of %q is not right", s.Name)
	if len(s.Value) != 8+ed25519.SignatureSize {
		return at, wrong
	}
	seconds := binary.BigEndian.Uint64(s.Value)
	if seconds >= 1<<63 {
		return at, wrong
	}
	message := []byte("cosignature/v1\ntime " + strconv.FormatUint(seconds, 10) + "\n" + string(n.Text))
	if !ed25519.Verify(k.Public, message, s.Value[8:]) {
		return at, wrong
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// Checkpoint is what a log says its tree is.
type Checkpoint struct {
	// Origin is the log's name.
	Origin string
	// Size is how many entries there are.
	Size uint64
	// Root is the Merkle tree hash of them.
	Root [sha256.Size]byte
}

var errCheckpoint = errors.New("it is no checkpoint: want an origin, a size and a root, each on a line of its own")

// Checkpoint reads the note's text as a checkpoint. Lines behind the first three say
// nothing here; they are signed.
func (n *Note) Checkpoint() (c Checkpoint, err error) {
	lines := strings.Split(string(n.Text), "\n")
	if len(lines) < 4 || strings.Contains(string(n.Text), "\n\n") || lines[0] == "" {
		return c, errCheckpoint
	}
	if c.Size, err = ParseDecimal(lines[1]); err != nil {
		return c, errCheckpoint
	}
	root, err := Decode(lines[2])
	if err != nil || len(root) != sha256.Size {
		return c, errCheckpoint
	}
	c.Origin, c.Root = lines[0], [sha256.Size]byte(root)
	return c, nil
}

// ParseDecimal reads a number below 2^63 as these formats have it: in digits alone,
// without zeroes before it.
func ParseDecimal(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%.40q is no number", text)
	}
	return n, nil
}
