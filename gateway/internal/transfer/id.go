package transfer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// ID names a transfer: the same for every range of one version of an object
// between the same parties in the same direction, and at both gateways.
type ID [16]byte

// String is the id in 32 hex digits, "" if it is zero.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// Anonymous is why a transfer has no id. Whether it goes on with an earlier one
// cannot be told then.
type Anonymous uint8

// What an id lacks.
const (
	Identified   Anonymous = iota // nothing
	NotAnswered                   // the answer would tell the version, and there is none yet
	NoValidator                   // neither a strong entity tag nor a date that is a strong validator
	NoSize                        // a date alone, and no size beside it
	UnclearQuery                  // the query has what is not understood, and might name another object
	BadRange                      // the range that is told is malformed, or contradicts the content's length
)

// String says it for people; "" if nothing is lacking.
func (a Anonymous) String() string {
	return [...]string{
		"", "not answered yet", "no strong validator", "no size beside a date",
		"unclear query", "contradictory range",
	}[a]
}

// validatorKind is what tells versions of an object apart.
type validatorKind byte

const (
	noValidator validatorKind = iota
	byTag                     // a strong entity tag
	byDate                    // Last-Modified
	byUpload                  // the upload's own name
	byDigest                  // the digest in the object's name
)

type validator struct {
	kind  validatorKind
	value string
}

// validatorOf is the strong validator that an answer has (RFC 9110 8.8): its
// entity tag, or else its date.
func validatorOf(f l7.Fields) validator {
	if tag, ok := f.Only("etag"); ok && strongTag(tag) {
		return validator{byTag, tag}
	}
	if modified, ok := f.Only("last-modified"); ok {
		return strongDate(modified, f)
	}
	return validator{}
}

// conditionOf is the date under which a client asked for a range and got it: an
// answer need not repeat it (RFC 9110 15.3.7), as it must a tag.
func conditionOf(asked, answer l7.Fields) validator {
	if date, ok := asked.Only("if-range"); ok {
		return strongDate(date, answer)
	}
	return validator{}
}

// strongTag says that s is an entity tag, and not a weak one (RFC 9110 8.8.3).
func strongTag(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	for _, c := range []byte(s[1 : len(s)-1]) {
		if c <= ' ' || c == '"' || c == 0x7f {
			return false
		}
	}
	return true
}

// strongDate takes a date of modification that is a strong validator: the answer
// was made a second later at the least, so that no other version has the same
// date (RFC 9110 8.8.2.2).
func strongDate(modified string, answer l7.Fields) validator {
	at, err := http.ParseTime(modified)
	if err != nil {
		return validator{}
	}
	value, _ := answer.Only("date")
	now, err := http.ParseTime(value)
	if err != nil || now.Sub(at) < time.Second {
		return validator{}
	}
	return validator{byDate, strconv.FormatInt(at.Unix(), 10)}
}

// identify gives the transfer its id, or says why it has none. The size is part
// of it beside a date alone: a strong tag implies it, and an answer with several
// ranges, or one whose end was not known when it began, does not tell it.
func (t *Transfer) identify(v validator) {
	switch {
	case t.Anonymous != Identified:
	case t.object.unclear:
		t.Anonymous = UnclearQuery
	case v.kind == noValidator:
		t.Anonymous = NoValidator
	case v.kind == byDate && t.Size < 0:
		t.Anonymous = NoSize
	default:
		size := int64(-1)
		if v.kind == byDate {
			size = t.Size
		}
		t.ID = t.hash(v, size)
	}
}

// usualName holds what names nearly all transfers, in bytes.
const usualName = 1 << 10

// hash is the first 128 bits of the SHA-256 of all that names the transfer. Each
// text has its length before it, so that no two names are the same bytes.
func (t *Transfer) hash(v validator, size int64) ID {
	var room [usualName]byte
	b := append(room[:0], "sallyport transfer 1\n"...)
	b = append(b, byte(t.Direction), byte(v.kind))
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	for _, s := range [...]string{t.parties.Caller, t.parties.Destination, t.parties.Service, t.object.path, v.value} {
		b = appendText(b, s)
	}
	for i, s := range t.object.selected {
		if s != "" {
			b = appendText(append(b, byte(i)), s)
		}
	}
	sum := sha256.Sum256(b)
	return ID(sum[:16])
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
