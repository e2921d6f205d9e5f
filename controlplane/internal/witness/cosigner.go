package witness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// cosignatureType is the signature type of a timestamped Ed25519 cosignature
// (signed-note).
const cosignatureType = 0x04

const (
	timeBytes        = 8
	keyIDBytes       = 4
	cosignatureBytes = timeBytes + ed25519.SignatureSize
)

// cosigner makes and verifies cosignature/v1 (tlog-cosignature). It is a
// note.Verifier of its own cosignatures.
type cosigner struct {
	name    string
	id      uint32
	private ed25519.PrivateKey
}

func newCosigner(name string, seed []byte) *cosigner {
	c := &cosigner{name: name, private: ed25519.NewKeyFromSeed(seed)}
	sum := sha256.Sum256(append([]byte(name+"\n"), c.encodedPublic()...))
	c.id = binary.BigEndian.Uint32(sum[:])
	return c
}

func generateCosigner(name string) (*cosigner, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return newCosigner(name, private.Seed()), nil
}

// parseCosigner reads a key as encode writes it.
func parseCosigner(text string) (*cosigner, error) {
	fields := strings.Split(text, "+")
	if len(fields) < 5 || fields[0] != "PRIVATE" || fields[1] != "KEY" || !validName(fields[2]) {
		return nil, errors.New("it is no note signer key: PRIVATE+KEY+NAME+ID+BASE64")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Join(fields[4:], "+")) // base64 has a plus, too
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != cosignatureType {
		return nil, errors.New("it is no Ed25519 cosignature key (type 4)")
	}
	c := newCosigner(fields[2], raw[1:])
	if fields[3] != fmt.Sprintf("%08x", c.id) {
		return nil, errors.New("its ID is not that of its key: the file was changed")
	}
	return c, nil
}

// encode gives the private key in the form of note's signer keys.
func (c *cosigner) encode() string {
	raw := append([]byte{cosignatureType}, c.private.Seed()...)
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", c.name, c.id, base64.StdEncoding.EncodeToString(raw))
}

// vkey gives the public key (signed-note, "Verifier keys").
func (c *cosigner) vkey() string {
	return fmt.Sprintf("%s+%08x+%s", c.name, c.id, base64.StdEncoding.EncodeToString(c.encodedPublic()))
}

func (c *cosigner) encodedPublic() []byte {
	return append([]byte{cosignatureType}, c.public()...)
}

func (c *cosigner) public() ed25519.PublicKey { return c.private.Public().(ed25519.PublicKey) }

// Name implements note.Verifier.
func (c *cosigner) Name() string { return c.name }

// KeyHash implements note.Verifier.
func (c *cosigner) KeyHash() uint32 { return c.id }

// Verify implements note.Verifier.
func (c *cosigner) Verify(text, sig []byte) bool {
	if len(sig) != cosignatureBytes {
		return false
	}
	return ed25519.Verify(c.public(), cosigned(binary.BigEndian.Uint64(sig), text), sig[timeBytes:])
}

// cosigned is the message that is signed.
func cosigned(seconds uint64, text []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", seconds), text...)
}

// stamped is a note.Signer: a cosigner at a time, in seconds since 1970.
type stamped struct {
	*cosigner

	seconds uint64
}

// Sign implements note.Signer.
func (s stamped) Sign(text []byte) ([]byte, error) {
	sig := binary.BigEndian.AppendUint64(make([]byte, 0, cosignatureBytes), s.seconds)
	return append(sig, ed25519.Sign(s.private, cosigned(s.seconds, text))...), nil
}

var (
	_ note.Verifier = (*cosigner)(nil)
	_ note.Signer   = stamped{}
)

// head is a checkpoint that was cosigned.
type head struct {
	checkpoint

	text    string // of the note
	seconds uint64 // when it was cosigned, since 1970
	signed  []byte // the note, with the log's signatures and the cosignature last
}

// cosign makes a head of a note that was opened with a log's keys. Signatures
// of others are left out.
func (c *cosigner) cosign(n *note.Note, cp checkpoint, seconds uint64) (*head, error) {
	signed, err := note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs}, stamped{c, seconds})
	if err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	return &head{checkpoint: cp, text: n.Text, seconds: seconds, signed: signed}, nil
}

// line is the cosignature alone, as a line of a note.
func (h *head) line() []byte {
	last := bytes.LastIndexByte(h.signed[:len(h.signed)-1], '\n')
	return h.signed[last+1:]
}

// recall reads a head as cosign made it. That its cosignature verifies is what
// makes it the witness's own word.
func (c *cosigner) recall(signed []byte) (*head, error) {
	n, err := note.Open(signed, note.VerifierList(c))
	if err != nil {
		return nil, fmt.Errorf("its cosignature: %w", err)
	}
	cp, err := parseCheckpoint(n.Text)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil {
		return nil, err
	}
	return &head{checkpoint: cp, text: n.Text, seconds: binary.BigEndian.Uint64(raw[keyIDBytes:]), signed: signed}, nil
}
