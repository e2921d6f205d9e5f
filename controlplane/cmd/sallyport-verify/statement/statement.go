// Package statement reads what two gateways have stated about their crossings, as
// gateway/statement/FORMAT.md has it, and says who signed it. It shares no code with the
// gateways.
//
// The one invariant: what was read keeps all rules that its parts alone can keep. What the
// rules ask of two statements, is asked where they follow one another.
package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

const (
	// maxSigned is the most that claim and answer have together, in bytes; a heartbeat
	// has no more.
	maxSigned = 64512
	// maxNumbers is the most numbers that a claim has opened, and as ended.
	maxNumbers = 4000
	maxFields  = 32
	maxField   = 64
)

// Chain is one dense numbering.
type Chain struct {
	// Egress and Ingress are SPIFFE IDs; Ingress is empty for what was refused at egress.
	// Run is the egress gateway's.
	Egress, Ingress, Run string
}

// String is the chain in words.
func (c Chain) String() string {
	to := "what it refused"
	if c.Ingress != "" {
		to = spiffe.Name(c.Ingress)
	}
	return spiffe.Name(c.Egress) + " ─► " + to
}

// Roots are those of the two lists of a claim, over one gateway's frames.
type Roots struct{ Opened, Closed merkle.Hash }

// Signature by a statement key.
type Signature struct {
	// Key is the SHA-256 of the public key.
	Key [sha256.Size]byte
	// Value of it.
	Value []byte
}

// Statement is a claim and, if there is one, its answer.
type Statement struct {
	Chain Chain
	// Epoch counts the chain's claims.
	Epoch uint64
	// Previous is the hash of the claim before, Answered that of the answer to it; empty
	// if there is none.
	Previous, Answered []byte
	// First and Next are the numbers that opened: to before Next.
	First, Next uint64
	// Voids are those of them that never opened, Closed the numbers that have ended;
	// rising.
	Voids, Closed []uint64
	// Roots are over the egress gateway's frames.
	Roots Roots
	// Since and At are when the epoch began and ended, by its clock.
	Since, At time.Time
	// Final and Resumed as it says.
	Final, Resumed bool
	// Hash of the claim.
	Hash merkle.Hash
	// Signature of the egress gateway.
	Signature Signature
	// Answer of the ingress gateway; nil if there is none.
	Answer *Answer
}

// Answer is what the ingress gateway says to a claim.
type Answer struct {
	// Run of the ingress gateway.
	Run string
	// Roots are over its own frames of the claim's numbers.
	Roots Roots
	// Differences between the two accounts.
	Differences []Difference
	// Deferred are the numbers of the claim's Closed that go on there; rising.
	Deferred []uint64
	// At is when, by its clock.
	At time.Time
	// Missed is how many claims before never came.
	Missed uint64
	// Forgot says that it did not remember an answer of its own.
	Forgot bool
	// Hash of the answer.
	Hash merkle.Hash
	// Signature of the ingress gateway, over claim and answer.
	Signature Signature
}

// Difference is numbers on which the two accounts differ, for one reason.
type Difference struct {
	// Kind is its number.
	Kind uint64
	// Fields that differ.
	Fields []string
	// Numbers, rising.
	Numbers []uint64
}

// Read reads a frame's statement, and keeps nothing of the frame. It refuses what is not
// well formed, whoever signed it.
func Read(m *wire.Message) (*Statement, error) {
	claim, answer := m.Bytes("claim"), m.Bytes("answer")
	if n := len(claim) + len(answer); n > maxSigned {
		return nil, fmt.Errorf("statement of %d bytes, the most is %d", n, maxSigned)
	}
	s := &Statement{Hash: sha256.Sum256(claim)}
	err := s.readClaim(claim)
	if err == nil {
		s.Signature, err = readSignature(m.Sub("egress"))
	}
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if len(answer) == 0 {
		if m.Has("ingress") {
			return nil, errors.New("statement: a signature of no answer")
		}
		return s, nil
	}
	s.Answer = &Answer{Hash: sha256.Sum256(answer)}
	if err = s.readAnswer(answer); err == nil {
		s.Answer.Signature, err = readSignature(m.Sub("ingress"))
	}
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return s, nil
}

func (s *Statement) readClaim(data []byte) error {
	c, err := wire.Decode(message.Claim, data)
	if err != nil {
		return err
	}
	s.Epoch, s.First, s.Next = c.Uint("epoch"), c.Uint("first"), c.Uint("next")
	s.Previous, s.Answered = bytes.Clone(c.Bytes("previous")), bytes.Clone(c.Bytes("answered"))
	s.Since, s.At, s.Final, s.Resumed = c.Time("since"), c.Time("at"), c.Is("final"), c.Is("resumed")
	if s.Chain, err = readChain(c.Sub("chain")); err != nil {
		return err
	}
	switch {
	case s.Epoch == 0 || s.First == 0:
		return errors.New("epochs and numbers begin with 1")
	case !hashOrNone(s.Previous) || !hashOrNone(s.Answered):
		return errors.New("what was before is not named by a hash")
	case (s.Epoch == 1) != (len(s.Previous) == 0) || s.Epoch == 1 && len(s.Answered) > 0:
		return fmt.Errorf("epoch %d, and what was before it is not named as it must be", s.Epoch)
	case s.Next < s.First || s.Next-s.First > maxNumbers:
		return fmt.Errorf("numbers from %d to before %d, the most are %d", s.First, s.Next, maxNumbers)
	case !goodTime(s.Since) || !goodTime(s.At):
		return errors.New("its times are none of these centuries")
	}
	if s.Roots, err = readRoots(c.Sub("roots")); err != nil {
		return err
	}
	if _, err = readRoots(c.Sub("agreed")); err != nil {
		return fmt.Errorf("agreed: %w", err)
	}
	return s.readNumbers(c)
}

func (s *Statement) readNumbers(c *wire.Message) (err error) {
	if s.Voids, err = rising(c.Numbers("voids"), s.First, maxNumbers); err != nil {
		return fmt.Errorf("voids: %w", err)
	}
	if s.Closed, err = rising(c.Numbers("closed"), 0, maxNumbers); err != nil {
		return fmt.Errorf("closed: %w", err)
	}
	switch {
	case !below(s.Voids, s.Next) || !below(s.Closed, s.Next):
		return fmt.Errorf("it names a number that was not given out before %d", s.Next)
	case len(s.Closed) > 0 && (s.Closed[0] == 0 || s.Chain.Ingress == ""):
		return errors.New("it names a number as ended that cannot have")
	}
	return nil
}

func (s *Statement) readAnswer(data []byte) error {
	m, err := wire.Decode(message.Answer, data)
	if err != nil {
		return err
	}
	a := s.Answer
	a.Run, a.At, a.Missed, a.Forgot = m.Text("run"), m.Time("at"), m.Uint("missed"), m.Is("forgot")
	switch {
	case s.Chain.Ingress == "":
		return errors.New("there is nobody to answer")
	case !bytes.Equal(m.Bytes("claim"), s.Hash[:]):
		return errors.New("it is to another claim")
	case !goodTime(a.At):
		return errors.New("its time is none of these centuries")
	case a.Missed >= s.Epoch:
		return fmt.Errorf("%d claims missed before epoch %d", a.Missed, s.Epoch)
	case !IsRun(a.Run):
		return errors.New("its run is none")
	}
	if a.Roots, err = readRoots(m.Sub("roots")); err != nil {
		return err
	}
	if a.Deferred, err = rising(m.Numbers("deferred"), 0, maxNumbers); err != nil {
		return fmt.Errorf("deferred: %w", err)
	}
	for _, n := range a.Deferred {
		if !Has(s.Closed, n) {
			return fmt.Errorf("it puts number %d off, which was not claimed to have ended", n)
		}
	}
	for _, d := range m.Subs("differences") {
		read, err := readDifference(d)
		if err != nil {
			return fmt.Errorf("difference: %w", err)
		}
		a.Differences = append(a.Differences, read)
	}
	return nil
}

func readDifference(m *wire.Message) (d Difference, err error) {
	d.Kind = m.Uint("kind")
	if d.Kind == 0 {
		return d, errors.New("it has no kind")
	}
	if d.Numbers, err = rising(m.Numbers("numbers"), 0, maxSigned); err != nil {
		return d, err
	}
	if len(d.Numbers) == 0 || d.Numbers[0] == 0 {
		return d, errors.New("it is of no number")
	}
	fields := m.List("fields")
	if len(fields) > maxFields {
		return d, fmt.Errorf("%d fields, the most are %d", len(fields), maxFields)
	}
	for _, f := range fields {
		if len(f) == 0 || len(f) > maxField {
			return d, errors.New("a field without a name, or with a long one")
		}
		d.Fields = append(d.Fields, string(f))
	}
	return d, nil
}

func readChain(m *wire.Message) (Chain, error) {
	c := Chain{Egress: m.Text("egress"), Ingress: m.Text("ingress"), Run: m.Text("run")}
	if _, err := spiffe.TrustDomain(c.Egress); err != nil {
		return c, err
	}
	if c.Ingress != "" {
		if _, err := spiffe.TrustDomain(c.Ingress); err != nil {
			return c, err
		}
	}
	switch {
	case c.Egress == c.Ingress:
		return c, errors.New("both gateways are one")
	case !IsRun(c.Run):
		return c, errors.New("its run is none")
	}
	return c, nil
}

func readRoots(m *wire.Message) (r Roots, err error) {
	opened, closed := m.Bytes("opened"), m.Bytes("closed")
	if len(opened) != sha256.Size || len(closed) != sha256.Size {
		return r, errors.New("a root is none")
	}
	return Roots{merkle.Hash(opened), merkle.Hash(closed)}, nil
}

func readSignature(m *wire.Message) (s Signature, err error) {
	key, value := m.Bytes("key"), m.Bytes("value")
	if m == nil || m.Uint("algorithm") != message.Ed25519 || len(key) != sha256.Size || len(value) != ed25519.SignatureSize {
		return s, errors.New("its signature is none of Ed25519")
	}
	return Signature{[sha256.Size]byte(key), bytes.Clone(value)}, nil
}

// rising are the numbers that distances are of, the first from a number.
func rising(distances []uint64, from uint64, most int) ([]uint64, error) {
	if len(distances) > most {
		return nil, fmt.Errorf("%d numbers, the most are %d", len(distances), most)
	}
	numbers := make([]uint64, len(distances))
	for at, d := range distances {
		if at > 0 && d == 0 || from+d < from {
			return nil, errors.New("numbers do not rise")
		}
		from += d
		numbers[at] = from
	}
	return numbers, nil
}

// Has says whether a number is among rising ones.
func Has(numbers []uint64, n uint64) bool {
	_, found := slices.BinarySearch(numbers, n)
	return found
}

func below(numbers []uint64, next uint64) bool {
	return len(numbers) == 0 || numbers[len(numbers)-1] < next
}

func hashOrNone(b []byte) bool { return len(b) == 0 || len(b) == sha256.Size }

func goodTime(t time.Time) bool { return t.Year() >= 2000 && t.Year() < 2200 }

// IsRun says that it is the name of a run: 32 hex digits, not all 0.
func IsRun(run string) bool {
	zero := true
	for _, c := range []byte(run) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
		zero = zero && c == '0'
	}
	return len(run) == 32 && !zero
}

// Differs are the differences that the answer names of a number.
func (s *Statement) Differs(n uint64) (all []Difference) {
	if s.Answer == nil {
		return nil
	}
	for _, d := range s.Answer.Differences {
		if Has(d.Numbers, n) {
			all = append(all, d)
		}
	}
	return all
}
