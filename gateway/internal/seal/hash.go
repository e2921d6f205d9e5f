package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
)

// Hash is the salted hash of a content, as records have it: who has the salt, and nobody
// else, can so check what he guesses that a content was. The crossing's id is hashed too,
// so that the record does not tell which contents are equal. Part is "request" or
// "answer", salt that of the day as its file has it.
func Hash(salt []byte, id, part string, content []byte) string {
	h := newHashed(salt, id, part)
	h.mac.Write(content)
	return h.digest()
}

// hashed is a content of which a salted hash is kept.
type hashed struct {
	salt []byte
	mac  hash.Hash
	some bool // something passed
}

func (s *Sealer) hash(c *Content, id string, now time.Time, what kept.Content) error {
	salt, err := s.salts.of(now, what.Days)
	if err == nil {
		c.request.into, c.answer.into = newHashed(salt, id, "request"), newHashed(salt, id, "answer")
	}
	return err
}

func newHashed(salt []byte, id, part string) *hashed {
	h := &hashed{salt: salt, mac: hmac.New(sha256.New, salt)}
	h.mac.Write([]byte(id + "\n" + part + "\n"))
	return h
}

func (h *hashed) take(p []byte) error {
	h.some = true
	h.mac.Write(p) // it never fails (package hash)
	return nil
}

func (h *hashed) end(bool) (k Kept) {
	if h.some {
		k.Digest = h.digest()
	}
	return k
}

func (h *hashed) digest() string {
	return "hmac-sha256:" + saltID(h.salt) + ":" + hex.EncodeToString(h.mac.Sum(nil))
}

// saltID names a salt, and tells nothing of it that would help to guess a content.
func saltID(salt []byte) string {
	sum := sha256.Sum256(salt)
	return hex.EncodeToString(sum[:8])
}
