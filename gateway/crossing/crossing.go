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
	var text [idLength]byte
	return string(AppendID(text[:0], now))
}

// AppendID appends what NewID makes.
func AppendID(b []byte, now time.Time) []byte {
	var id uuid.UUID
	rand.Read(id[:]) // it never fails (crypto/rand)
	ms := now.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = 0x70 | id[6]&0x0f // version 7
	id[8] = 0x80 | id[8]&0x3f // the variant of RFC 9562
	for i, part := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

// idLength is the length of a crossing's id, in bytes.
const idLength = 36

// ParseID reads a crossing's id. It refuses what is not a UUIDv7 in its canonical
// lower-case form.
func ParseID(s string) (uuid.UUID, error) {
	var id uuid.UUID
	if !decodeID(&id, s) || id.Version() != 7 || id.Variant() != uuid.RFC4122 {
		return uuid.UUID{}, fmt.Errorf("crossing id %.64q is not a UUIDv7", s)
	}
	return id, nil
}

// decodeID decodes groups of lower-case hex digits with dashes between them.
func decodeID(id *uuid.UUID, s string) bool {
	if len(s) != idLength {
		return false
	}
	at := 0
	for i := range id {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			if s[at] != '-' {
				return false
			}
			at++
		}
		high, low := digit(s[at]), digit(s[at+1])
		if high > 15 || low > 15 {
			return false
		}
		id[i] = high<<4 | low
		at += 2
	}
	return true
}

// digit is the value of a lower-case hex digit, above 15 if c is none.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// CheckID refuses what ParseID does.
func CheckID(s string) error {
	_, err := ParseID(s)
	return err
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
