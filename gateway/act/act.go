// Package act is what an operator does at once, beside the policy: a quarantine of
// one identity, the revocation of one gateway, and the lifting of either. An act is
// signed with the keys that sign the policy. One that only denies needs one of them,
// whatever the threshold, and is reviewed afterwards; to lift one, as many must sign
// as for a policy.
//
// The one invariant: nothing that is denied here comes back but by a LIFT that names
// the very act. Who carries acts can withhold one, and neither forge nor undo it.
package act

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy/jcs"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// signedAs begins what is signed, so that a signature over an act is none over a
	// policy or a key set, nor the other way round.
	signedAs = "sallyport act v1\n"
	// MaxSize is the most that a signed act may take, in bytes.
	MaxSize = 4 << 10
	// MaxReason is the most that its reason may have, in bytes.
	MaxReason = 512
	maxName   = 256
)

// The paths of SPIFFE IDs that are the mesh's own.
const (
	reservedPath = "/sallyport/"
	gatewayPath  = reservedPath + "gateway/"
)

// ErrAct says that an act is not well formed, in words after it. A signature that
// is missing is signed.ErrSignature instead.
var ErrAct = errors.New("bad act")

// Act is an act that is well formed. It does not change.
type Act struct {
	ID      string // "sha256:HEX" of the signed bytes
	Kind    policyv1.Act_Kind
	Subject spiffeid.ID
	Made    time.Time
	Lifts   string // the id of the act that it takes back; "" unless it is a LIFT

	said   *policyv1.Act
	signed *policyv1.SignedAct
}

// Said is all that it says. It must not be changed.
func (a *Act) Said() *policyv1.Act { return a.said }

// Signed is the act as it travels. It must not be changed.
func (a *Act) Signed() *policyv1.SignedAct { return a.signed }

// Short tells it from others, for people: the beginning of its digest.
func (a *Act) Short() string { return Short(a.ID) }

// Short is the beginning of an act's digest.
func Short(id string) string {
	const enough = len("sha256:") + 12
	return strings.TrimPrefix(id[:min(len(id), enough)], "sha256:")
}

// Overdue says that its date of review has passed. The day itself is in time.
func (a *Act) Overdue(now time.Time) bool {
	day, err := time.Parse(time.DateOnly, a.said.GetReviewBy())
	return err == nil && !now.Before(day.AddDate(0, 0, 1))
}

// Sign makes an act ready to be sent. It fails with ErrAct if it is not well formed.
func Sign(said *policyv1.Act, signers ...signed.Signer) (*policyv1.SignedAct, error) {
	text, err := jcs.Marshal(said)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAct, err)
	}
	sa := &policyv1.SignedAct{Act: text, Signatures: signed.SignText(signedAs, text, signers)}
	_, err = Read(sa)
	return sa, err
}

// Verify reads an act that enough of the keys have signed: one, or of a LIFT as many
// as their threshold says. Nothing that is not signed is parsed.
func Verify(sa *policyv1.SignedAct, keys *policyv1.KeySet) (*Act, error) {
	if err := signed.CheckKeys(keys); err != nil {
		return nil, fmt.Errorf("verify act: %w", err)
	}
	if n := proto.Size(sa); n > MaxSize {
		return nil, fmt.Errorf("verify act: %w: it takes %d bytes, at most %d", ErrAct, n, MaxSize)
	}
	one := &policyv1.KeySet{Threshold: 1, Keys: keys.GetKeys()}
	if err := signed.CheckSignatures(signedAs, sa.GetAct(), sa.GetSignatures(), one); err != nil {
		return nil, fmt.Errorf("verify act %s: %w", Short(ID(sa)), err)
	}
	a, err := Read(sa)
	if err != nil {
		return nil, fmt.Errorf("verify act %s: %w", Short(ID(sa)), err)
	}
	if a.Kind != policyv1.Act_LIFT {
		return a, nil
	}
	if err := signed.CheckSignatures(signedAs, sa.GetAct(), sa.GetSignatures(), keys); err != nil {
		return nil, fmt.Errorf("verify act %s: to lift one: %w", a.Short(), err)
	}
	return a, nil
}

// ID is the id of a signed act, whatever it says.
func ID(sa *policyv1.SignedAct) string {
	sum := sha256.Sum256(sa.GetAct())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Read reads an act whose signatures were verified before. It fails with ErrAct.
func Read(sa *policyv1.SignedAct) (*Act, error) {
	if n := proto.Size(sa); n > MaxSize {
		return nil, fmt.Errorf("%w: it takes %d bytes, at most %d", ErrAct, n, MaxSize)
	}
	said := &policyv1.Act{}
	if err := jcs.Unmarshal(sa.GetAct(), said); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAct, err)
	}
	subject, err := check(said)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAct, err)
	}
	return &Act{
		ID: ID(sa), Kind: said.GetKind(), Subject: subject, Made: said.GetMade().AsTime(), Lifts: said.GetLifts(),
		said: said, signed: proto.CloneOf(sa),
	}, nil
}

// check holds an act's form, and gives its subject.
func check(said *policyv1.Act) (spiffeid.ID, error) {
	subject, err := spiffeid.FromString(said.GetSubject())
	if err != nil {
		return subject, fmt.Errorf("subject: %w", err)
	}
	if len(said.GetSubject()) > spiffeIDBytes {
		return subject, errors.New("subject: it is too long")
	}
	if _, err := spiffeid.FromString(said.GetAuthor()); err != nil {
		return subject, fmt.Errorf("author: %w", err)
	}
	if name := said.GetPolicy(); name == "" || len(name) > maxName {
		return subject, errors.New("policy: it names none")
	}
	if year := said.GetMade().AsTime().Year(); said.GetMade().CheckValid() != nil || year < 2000 || year > 2199 {
		return subject, errors.New("made: it is no time")
	}
	if err := checkReason(said.GetReason()); err != nil {
		return subject, err
	}
	return subject, checkKind(said, subject)
}

// spiffeIDBytes is the longest SPIFFE ID (SPIFFE-ID, section 2.3).
const spiffeIDBytes = 2048

// checkReason wants a line that people can read, and that does to a terminal what
// it says.
func checkReason(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return errors.New("reason: whoever reviews it needs one")
	case len(text) > MaxReason:
		return fmt.Errorf("reason: it has %d bytes, at most %d", len(text), MaxReason)
	case !utf8.ValidString(text) || strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0:
		return errors.New("reason: it has characters that cannot be shown")
	}
	return nil
}

func checkKind(said *policyv1.Act, subject spiffeid.ID) error {
	lift := said.GetKind() == policyv1.Act_LIFT
	switch {
	case lift != (said.GetLifts() != ""):
		return errors.New("lifts: a LIFT names an act, and no other act does")
	case lift && !IsID(said.GetLifts()):
		return errors.New("lifts: it is no act's id")
	case lift != (said.GetReviewBy() == ""):
		return errors.New("reviewBy: what denies has a date, and a LIFT has none")
	}
	if !lift {
		if _, err := time.Parse(time.DateOnly, said.GetReviewBy()); err != nil {
			return errors.New("reviewBy: it is no date like 2026-12-31")
		}
	}
	own, name := strings.HasPrefix(subject.Path(), reservedPath), strings.TrimPrefix(subject.Path(), gatewayPath)
	gateway := own && name != subject.Path() && name != "" && !strings.Contains(name, "/")
	switch said.GetKind() {
	case policyv1.Act_QUARANTINE:
		if own || subject.Path() == "" {
			return errors.New("subject: a workload's SPIFFE ID is quarantined; a gateway is revoked")
		}
		return nil
	case policyv1.Act_REVOKE_GATEWAY:
		if !gateway {
			return errors.New("subject: it is no gateway's SPIFFE ID")
		}
		return nil
	case policyv1.Act_LIFT:
		return nil
	}
	return fmt.Errorf("kind: %d is none", said.GetKind())
}

// IsID says that a text has the form of an act's id.
func IsID(text string) bool {
	digest, ok := strings.CutPrefix(text, "sha256:")
	if !ok || len(digest) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(digest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
