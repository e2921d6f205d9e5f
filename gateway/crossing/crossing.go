// Package crossing is the record: what one gateway says of a crossing, and what
// two gateways' accounts come to when they are joined. It says which frames are
// acceptable and how halves agree; it stores and sends nothing. FORMAT.md is
// the format, from which another implementation could be written.
//
// One invariant: joining is a function of the two accounts alone. It does not
// matter which came first, or how often.
package crossing

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Schema is the name of the record's format.
const Schema = "sallyport.crossing.v1"

// NewID makes a crossing's id: a UUIDv7 (RFC 9562 section 5.7) of that time, so
// that ids sort as crossings opened, to the millisecond.
func NewID(now time.Time) string {
	var id uuid.UUID
	rand.Read(id[:]) // it never fails (crypto/rand)
	ms := now.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = 0x70 | id[6]&0x0f // version 7
	id[8] = 0x80 | id[8]&0x3f // the variant of RFC 9562
	return id.String()
}

// CheckID refuses what is not a UUIDv7 in its canonical lower-case form.
func CheckID(s string) error {
	id, err := uuid.Parse(s)
	if err != nil || id.String() != s || id.Version() != 7 || id.Variant() != uuid.RFC4122 {
		return fmt.Errorf("crossing id %.64q is not a UUIDv7", s)
	}
	return nil
}

// NewRun makes the id of a gateway's run: 128 random bits in lower-case hex.
func NewRun() string {
	var b [16]byte
	rand.Read(b[:]) // it never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

var errRun = errors.New("run is not 32 lower-case hex digits")

// CheckRun refuses what is not a run's id.
func CheckRun(s string) error {
	if !lowerHex(s, 32) {
		return errRun
	}
	return nil
}

// lowerHex says that s is n lower-case hex digits and not all zero.
func lowerHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	zero := true
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		zero = zero && c == '0'
	}
	return !zero
}
