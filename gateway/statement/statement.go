package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// MaxStatement is the most that claim and answer have together, in bytes: what
	// fits into a frame beside the signatures.
	MaxStatement = crossing.MaxFrame - 1<<10
	// maxFields and maxField bound the names of fields of a difference.
	maxFields = 32
	maxField  = 64
	// maxStandings bounds a heartbeat.
	maxStandings = 4096
)

// Stated is a statement that was read: well formed, within all limits, and its
// parts are of one another. Whether it was signed, VerifyEgress and VerifyIngress
// say.
type Stated struct {
	// Statement that was read.
	Statement *crossingv1.Statement
	// Chain that it is of.
	Chain Chain
	// Claim in it, and its hash.
	Claim     *crossingv1.Claim
	ClaimHash Hash
	// Answer in it, and its hash; nil if there is none.
	Answer     *crossingv1.Answer
	AnswerHash Hash

	voids, closed, deferred []uint64
}

// Read reads a statement, its answer too if it has one. It refuses what is not
// well formed: a gap within it, numbers out of order, unknown fields.
func Read(s *crossingv1.Statement) (*Stated, error) {
	st, err := read(s)
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	return st, nil
}

func read(s *crossingv1.Statement) (*Stated, error) {
	if n := len(s.GetClaim()) + len(s.GetAnswer()); n > MaxStatement {
		return nil, fmt.Errorf("%d bytes, the most is %d", n, MaxStatement)
	}
	if len(s.ProtoReflect().GetUnknown()) > 0 {
		return nil, errors.New("it has fields that this version does not know")
	}
	st := &Stated{Statement: s, Claim: new(crossingv1.Claim), ClaimHash: sha256.Sum256(s.GetClaim())}
	if err := decode(s.GetClaim(), st.Claim); err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if err := errors.Join(st.readClaim(), checkSignature(s.GetEgress())); err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if len(s.GetAnswer()) == 0 {
		if s.GetIngress() != nil {
			return nil, errors.New("a signature of no answer")
		}
		return st, nil
	}
	st.Answer, st.AnswerHash = new(crossingv1.Answer), sha256.Sum256(s.GetAnswer())
	if err := decode(s.GetAnswer(), st.Answer); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	if err := errors.Join(st.readAnswer(), checkSignature(s.GetIngress())); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return st, nil
}

// decode decodes a message that was signed. What is not known was not read.
func decode(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return err
	}
	return crossing.CheckFields(m)
}

// encode encodes a message with valid texts.
func encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // only a text that is not UTF-8 fails: each was decoded, or is ours
	}
	return b
}

func (s *Stated) readClaim() (err error) {
	c := s.Claim
	if s.Chain, err = ParseChain(c.GetChain()); err != nil {
		return err
	}
	switch first := c.GetEpoch() == 1; {
	case c.GetEpoch() == 0 || c.GetFirst() == 0:
		return errors.New("epochs and numbers begin with 1")
	case !emptyOrHash(c.GetPrevious()) || !emptyOrHash(c.GetAnswered()):
		return errors.New("the claim before is not named by its hash")
	case first != (len(c.GetPrevious()) == 0) || first && len(c.GetAnswered()) > 0:
		return fmt.Errorf("the claim before epoch %d is not as it must be", c.GetEpoch())
	case c.GetNext() < c.GetFirst() || c.GetNext()-c.GetFirst() > MaxOpened:
		return fmt.Errorf("numbers from %d to %d, the most are %d", c.GetFirst(), c.GetNext(), MaxOpened)
	case !rooted(c.GetRoots()) || len(c.GetAgreed().GetOpened()) != sha256.Size || len(c.GetAgreed().GetClosed()) != sha256.Size:
		return errors.New("a root or digest is none")
	case !validTime(c.GetSince()) || !validTime(c.GetAt()):
		return errors.New("it has no valid times")
	}
	if s.voids, err = numbersOf(c.GetVoids(), c.GetFirst(), MaxOpened); err != nil {
		return fmt.Errorf("voids: %w", err)
	}
	if s.closed, err = numbersOf(c.GetClosed(), 0, MaxClosed); err != nil {
		return fmt.Errorf("closed: %w", err)
	}
	switch {
	case !below(s.voids, c.GetNext()), !below(s.closed, c.GetNext()):
		return fmt.Errorf("a number that was not given out before %d", c.GetNext())
	case len(s.closed) > 0 && (s.closed[0] == 0 || s.Chain.Ingress == ""):
		return errors.New("a number that cannot have ended")
	}
	return nil
}

func (s *Stated) readAnswer() (err error) {
	a := s.Answer
	switch {
	case s.Chain.Ingress == "":
		return errors.New("there is nobody to answer")
	case !bytes.Equal(a.GetClaim(), s.ClaimHash[:]):
		return errors.New("it is to another claim")
	case !rooted(a.GetRoots()):
		return errors.New("a root is none")
	case !validTime(a.GetAt()):
		return errors.New("it has no valid time")
	case a.GetMissed() >= s.Claim.GetEpoch():
		return fmt.Errorf("%d claims missed before epoch %d", a.GetMissed(), s.Claim.GetEpoch())
	}
	if err := crossing.CheckRun(a.GetRun()); err != nil {
		return err
	}
	if s.deferred, err = numbersOf(a.GetDeferred(), 0, MaxClosed); err != nil {
		return fmt.Errorf("deferred: %w", err)
	}
	for _, n := range s.deferred {
		if !has(s.closed, n) {
			return fmt.Errorf("%d is put off, which was not claimed", n)
		}
	}
	for _, d := range a.GetDifferences() {
		if err := checkDifference(d); err != nil {
			return fmt.Errorf("difference: %w", err)
		}
	}
	return nil
}

func checkDifference(d *crossingv1.Difference) error {
	if d.GetKind() == crossingv1.Difference_KIND_UNSPECIFIED {
		return errors.New("it has no kind")
	}
	numbers, err := numbersOf(d.GetNumbers(), 0, MaxStatement)
	switch {
	case err != nil:
		return err
	case len(numbers) == 0 || numbers[0] == 0:
		return errors.New("it is of no number")
	case len(d.GetFields()) > maxFields:
		return fmt.Errorf("%d fields, the most are %d", len(d.GetFields()), maxFields)
	case slices.ContainsFunc(d.GetFields(), func(f string) bool { return f == "" || len(f) > maxField }):
		return errors.New("a field without a name, or with a long one")
	}
	return nil
}

func checkSignature(s *crossingv1.Signature) error {
	if s.GetAlgorithm() != crossingv1.Algorithm_ED25519 || len(s.GetKey()) != sha256.Size || len(s.GetValue()) != ed25519.SignatureSize {
		return errors.New("the signature is none of Ed25519")
	}
	return crossing.CheckFields(s)
}

func emptyOrHash(b []byte) bool { return len(b) == 0 || len(b) == sha256.Size }

func rooted(r *crossingv1.Roots) bool {
	return len(r.GetOpened()) == sha256.Size && len(r.GetClosed()) == sha256.Size
}

// below says that rising numbers end before that one.
func below(numbers []uint64, next uint64) bool {
	return len(numbers) == 0 || numbers[len(numbers)-1] < next
}

// validTime bounds a clock's reading, as in the record.
func validTime(t *timestamppb.Timestamp) bool {
	if t == nil || !t.IsValid() {
		return false
	}
	year := t.AsTime().Year()
	return year >= 2000 && year < 2200
}

// EgressKey is the id of the key that the claim is said to be signed with.
func (s *Stated) EgressKey() Hash { return Hash(s.Statement.GetEgress().GetKey()) }

// IngressKey is that of the answer; zero if there is none.
func (s *Stated) IngressKey() (id Hash) {
	copy(id[:], s.Statement.GetIngress().GetKey())
	return id
}

// VerifyEgress holds that the egress gateway signed the claim with that key.
func (s *Stated) VerifyEgress(k *Key) error {
	if err := k.verify(s.Chain.Egress, s.Statement.GetEgress(), claimContext, s.ClaimHash); err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	return nil
}

// VerifyIngress holds that the ingress gateway signed claim and answer with that
// key. It fails if there is no answer.
func (s *Stated) VerifyIngress(k *Key) error {
	if s.Answer == nil {
		return errors.New("answer: there is none")
	}
	if err := k.verify(s.Chain.Ingress, s.Statement.GetIngress(), answerContext, s.ClaimHash, s.AnswerHash); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// Voids are the numbers that never opened, rising.
func (s *Stated) Voids() []uint64 { return s.voids }

// Closed are the numbers that the claim says have ended, rising.
func (s *Stated) Closed() []uint64 { return s.closed }

// Deferred are those of them that the answer puts off, rising.
func (s *Stated) Deferred() []uint64 { return s.deferred }

// Numbers are those of a difference of a statement that was read, rising.
func Numbers(d *crossingv1.Difference) []uint64 {
	numbers, err := numbersOf(d.GetNumbers(), 0, MaxStatement)
	if err != nil {
		return nil
	}
	return numbers
}

// ReadHeartbeat reads a heartbeat, whoever signed it. It refuses what is not well
// formed.
func ReadHeartbeat(h *crossingv1.SignedHeartbeat) (*crossingv1.Heartbeat, error) {
	if len(h.GetHeartbeat()) > MaxStatement {
		return nil, fmt.Errorf("%d bytes, the most is %d", len(h.GetHeartbeat()), MaxStatement)
	}
	beat := new(crossingv1.Heartbeat)
	if err := decode(h.GetHeartbeat(), beat); err != nil {
		return nil, err
	}
	if err := errors.Join(checkSignature(h.GetSignature()), crossing.CheckRun(beat.GetRun())); err != nil {
		return nil, err
	}
	switch _, err := spiffeid.FromString(beat.GetGateway()); {
	case err != nil:
		return nil, err
	case !validTime(beat.GetAt()):
		return nil, errors.New("it has no valid time")
	case len(beat.GetStandings()) > maxStandings:
		return nil, fmt.Errorf("%d standings, the most are %d", len(beat.GetStandings()), maxStandings)
	}
	for _, s := range beat.GetStandings() {
		if err := checkStanding(s, beat.GetGateway()); err != nil {
			return nil, fmt.Errorf("standing: %w", err)
		}
	}
	return beat, nil
}

// checkStanding holds that a gateway says it of a chain of its own.
func checkStanding(s *crossingv1.Standing, gateway string) error {
	c, err := ParseChain(s.GetChain())
	switch {
	case err != nil:
		return err
	case c.Egress != gateway && c.Ingress != gateway:
		return errors.New("it is of a chain between others")
	case !emptyOrHash(s.GetClaim()) || (s.GetEpoch() == 0) != (len(s.GetClaim()) == 0):
		return errors.New("the last claim is not named by its hash")
	case s.GetSilent() != nil && !validTime(s.GetSilent()):
		return errors.New("it has no valid time")
	}
	return nil
}
