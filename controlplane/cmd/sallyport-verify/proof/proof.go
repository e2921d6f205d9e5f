// Package proof checks the proof of one crossing, as ../FORMAT.md specifies it: a C2SP
// tlog-proof whose extra data is an sallyport.log.v1.Evidence.
//
// The one invariant: no bit of a proof is free. Whatever is in it is signed, is hashed by
// what is signed, or is encoded in the one way that there is.
package proof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/frame"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/note"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

const (
	// Magic is how a proof begins.
	Magic = "c2sp.org/tlog-proof@v1\n"
	// MaxSize is the largest proof, in bytes.
	MaxSize = 4 << 20
	// maxEarlier is the most statements beside that of the proof's entry: of openings, and
	// of ends, each at either gateway.
	maxEarlier = 4
)

// Crossing is one that is proven.
type Crossing struct {
	// ID of it.
	ID string
	// Chain and Number are its place.
	Chain  statement.Chain
	Number uint64
	// Egress and Ingress are the accounts that are shown.
	Egress, Ingress frame.Account
	// Statements that cover them, as the log has them: the proof's entry first.
	Statements []Logged
	// Checkpoint of the log.
	Checkpoint *keys.Checkpoint

	tree note.Checkpoint // as it is told, before anybody looks at who signed it
}

// Logged is a statement in a log.
type Logged struct {
	*statement.Statement

	// Index is its place in the log.
	Index uint64
	// Taken is when the log took it, by the log's clock.
	Taken time.Time
	// Gateway is the SPIFFE ID of who delivered it.
	Gateway string
}

// text is what a proof's lines say.
type text struct {
	extra      []byte
	index      uint64
	path       []merkle.Hash
	checkpoint []byte
}

var errForm = errors.New("it is no proof of a crossing: want the lines of a C2SP tlog-proof")

// parse reads a proof's lines, strictly.
func parse(data []byte) (*text, error) {
	head, checkpoint, found := strings.Cut(string(data), "\n\n")
	if !found || len(data) > MaxSize {
		return nil, errForm
	}
	lines := strings.Split(head, "\n")
	if len(lines) < 3 || lines[0]+"\n" != Magic {
		return nil, errForm
	}
	extra, isExtra := strings.CutPrefix(lines[1], "extra ")
	index, isIndex := strings.CutPrefix(lines[2], "index ")
	if !isExtra || !isIndex {
		return nil, errForm
	}
	t := &text{checkpoint: []byte(checkpoint)}
	var err error
	if t.extra, err = note.Decode(extra); err != nil {
		return nil, fmt.Errorf("extra: %w", err)
	}
	if t.index, err = note.ParseDecimal(index); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if len(lines[3:]) > 64 {
		return nil, errors.New("the inclusion proof is longer than any")
	}
	for _, line := range lines[3:] {
		hash, err := note.Decode(line)
		if err != nil || len(hash) != len(merkle.Hash{}) {
			return nil, errors.New("a line of the inclusion proof is no hash")
		}
		t.path = append(t.path, merkle.Hash(hash))
	}
	if !bytes.Equal(t.append(nil), data) {
		return nil, errForm
	}
	return t, nil
}

// append writes what parse has read.
func (t *text) append(b []byte) []byte {
	b = append(append(append(b, Magic...), "extra "...), base64.StdEncoding.EncodeToString(t.extra)...)
	b = strconv.AppendUint(append(b, "\nindex "...), t.index, 10)
	for _, h := range t.path {
		b = append(append(b, '\n'), base64.StdEncoding.EncodeToString(h[:])...)
	}
	return append(append(b, "\n\n"...), t.checkpoint...)
}

// Check gives the crossing that a proof proves. The error is keys.ErrNoKey if that cannot
// be told, because it was signed with a key that the file does not have. What hashes show
// comes before what is signed: they are many, and cost little.
func Check(data []byte, k *keys.File) (*Crossing, error) {
	t, err := parse(data)
	if err != nil {
		return nil, err
	}
	e, err := canonical(message.Evidence, t.extra)
	if err != nil {
		return nil, err
	}
	c := new(Crossing)
	if err := c.hashed(t, e); err != nil {
		return nil, err
	}
	if c.Checkpoint, err = k.Checkpoint(t.checkpoint); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	for i := range c.Statements {
		if err := c.Statements[i].verify(k); err != nil {
			return nil, fmt.Errorf("entry %d: %w", c.Statements[i].Index, err)
		}
	}
	return c, nil
}

// hashed holds that the frames are what the statements are over, and the statements what
// the checkpoint is over, whoever signed any of them.
func (c *Crossing) hashed(t *text, e *wire.Message) error {
	n, err := note.Parse(t.checkpoint)
	if err == nil {
		c.tree, err = n.Checkpoint()
	}
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := c.statements(t, e); err != nil {
		return err
	}
	return c.members(e)
}

// canonical decodes a message that has one encoding.
func canonical(s *wire.Schema, data []byte) (*wire.Message, error) {
	m, err := wire.Decode(s, data)
	if err == nil && !bytes.Equal(m.Encode(), data) {
		err = fmt.Errorf("%s: it is not encoded in the one way that there is", s.Name())
	}
	return m, err
}

// statements holds that the statements are in the log.
func (c *Crossing) statements(t *text, e *wire.Message) error {
	if err := c.logged(t.index, t.path, e.Bytes("entry")); err != nil {
		return fmt.Errorf("entry %d: %w", t.index, err)
	}
	if len(e.Subs("earlier")) > maxEarlier {
		return fmt.Errorf("it has %d statements beside its own, the most are %d", len(e.Subs("earlier")), maxEarlier)
	}
	for _, other := range e.Subs("earlier") {
		index := other.Uint("index")
		path, err := merkle.Path(other.Bytes("path"))
		if err == nil {
			err = c.logged(index, path, other.Bytes("entry"))
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
	}
	return nil
}

// logged holds that an entry with a statement is in the log.
func (c *Crossing) logged(index uint64, path []merkle.Hash, data []byte) error {
	for _, other := range c.Statements {
		if other.Index == index {
			return errors.New("it is there twice")
		}
	}
	root, err := merkle.Root(merkle.Leaf(data), index, c.tree.Size, path)
	if err != nil {
		return err
	}
	if root != c.tree.Root {
		return fmt.Errorf("it is not in the log %s: with its path it comes to another root than the checkpoint has", c.tree.Origin)
	}
	l, err := ReadEntry(data)
	if err != nil {
		return err
	}
	l.Index = index
	if first := c.Statements; len(first) > 0 && first[0].Chain != l.Chain {
		return errors.New("it is of another chain")
	}
	c.Chain, c.Statements = l.Chain, append(c.Statements, *l)
	return nil
}

// ReadEntry reads a log's entry that has a statement.
func ReadEntry(data []byte) (*Logged, error) {
	e, err := canonical(message.Entry, data)
	if err != nil {
		return nil, err
	}
	if e.Count(message.Kept...) != 1 || !e.Has("frame") || !e.Has("at") {
		return nil, errors.New("it is no entry with a frame")
	}
	f, err := frame.Read(e.Bytes("frame"))
	if err != nil {
		return nil, err
	}
	if !f.Has("statement") {
		return nil, errors.New("it is no statement")
	}
	l := &Logged{Taken: e.Time("at"), Gateway: f.Text("gateway")}
	if l.Statement, err = statement.Read(f.Sub("statement")); err != nil {
		return nil, err
	}
	if l.Gateway != l.Chain.Egress && l.Gateway != l.Chain.Ingress {
		return nil, fmt.Errorf("it was delivered by %.256q, which is neither gateway", l.Gateway)
	}
	return l, nil
}

// verify holds that claim and answer were signed with keys of the file.
func (l *Logged) verify(k *keys.File) error {
	key, err := k.Gateway(l.Chain.Egress, l.Signature.Key)
	if err == nil {
		err = l.VerifyClaim(key)
	}
	if err != nil {
		return fmt.Errorf("claim of %s: %w", l.Chain.Egress, err)
	}
	if l.Answer == nil {
		return nil
	}
	if key, err = k.Gateway(l.Chain.Ingress, l.Answer.Signature.Key); err == nil {
		err = l.VerifyAnswer(key)
	}
	if err != nil {
		return fmt.Errorf("answer of %s: %w", l.Chain.Ingress, err)
	}
	return nil
}
