package digest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
)

// Declared is a digest that somebody said content has.
type Declared struct {
	By     string // the field that says so; "name" if the object is named by it
	SHA256 [sha256.Size]byte
	Known  bool // false: it is of another algorithm, of digests, or malformed

	of scope
}

// scope is what a declared digest is of.
type scope uint8

const (
	ofContent scope = iota // of the message's content, also of a range
	ofObject               // of all of it, as it is sent: with its codings
	ofBare                 // of all of it, without codings
)

// Verdict on what streamed, against what was declared.
type Verdict uint8

// Verdicts, the later the stronger.
const (
	NothingDeclared Verdict = iota
	NotComparable           // it is of more than what streamed, of other bytes, or of another algorithm
	Match
	Mismatch
)

// String is the verdict's name.
func (v Verdict) String() string {
	return [...]string{"none", "not comparable", "match", "mismatch"}[v]
}

// Declarations are the digests that are declared of the transfer's content: in
// the object's name, by the sender in its head, and by whoever answers an upload.
// answer is nil if there is none.
func Declarations(t *transfer.Transfer, req *l7.RequestHead, answer *l7.ResponseHead) []Declared {
	var all declarations
	if t.Digest != "" {
		all.oci("name", t.Digest)
	}
	switch {
	case t.Direction == transfer.Upload:
		all.sent(t, req.Fields)
		if answer != nil && answer.Status/100 == 2 {
			all.stored(t, answer.Fields)
		}
	case answer != nil:
		all.sent(t, answer.Fields)
	}
	return all
}

// InTrailers are those that the sender of the content declares behind it.
func InTrailers(t *transfer.Transfer, trailers l7.Fields) []Declared {
	var all declarations
	all.sent(t, trailers)
	return all
}

type declarations []Declared

// sent takes what the sender of content says of it, in each field that stands
// there: whichever one a reader takes, it has to be right.
func (d *declarations) sent(t *transfer.Transfer, f l7.Fields) {
	for i := range f {
		switch f[i].Name {
		case "content-digest": // RFC 9530 2
			d.add(f[i].Name, member(f[i].Value), ofContent)
		case "repr-digest": // RFC 9530 3
			d.add(f[i].Name, member(f[i].Value), ofObject)
		case "x-amz-content-sha256": // or UNSIGNED-PAYLOAD and the like
			if sum := fromHex(f[i].Value); sum != nil {
				d.add(f[i].Name, sum, ofContent)
			}
		}
	}
	d.stored(t, f)
}

// stored takes what a registry or an object store says that it has, or what its
// client says that it is to have.
func (d *declarations) stored(t *transfer.Transfer, f l7.Fields) {
	of := ofObject
	if t.Direction == transfer.Upload && t.Extent == transfer.Part {
		of = ofContent
	}
	for i := range f {
		switch f[i].Name {
		case "docker-content-digest":
			d.oci(f[i].Name, f[i].Value)
		case "x-amz-checksum-sha256": // BASE64-COUNT is a digest of the parts' digests
			d.add(f[i].Name, fromBase64(f[i].Value), of)
		}
	}
}

// oci takes ALGORITHM:HEX.
func (d *declarations) oci(by, digest string) {
	sum, _ := strings.CutPrefix(digest, "sha256:")
	d.add(by, fromHex(sum), ofBare)
}

func (d *declarations) add(by string, sum []byte, of scope) {
	said := Declared{By: by, of: of, Known: len(sum) == sha256.Size}
	if said.Known {
		said.SHA256 = [sha256.Size]byte(sum)
	}
	*d = append(*d, said)
}

// member is sha-256 in a dictionary of byte sequences, such as
// "sha-256=:BASE64:, sha-512=:BASE64:" (RFC 9651 3.2); nil if it is not there, or
// the dictionary is malformed. Of several the last one counts.
func member(dictionary string) (sum []byte) {
	for s := range strings.SplitSeq(dictionary, ",") {
		key, value, _ := strings.Cut(strings.Trim(s, " \t"), "=")
		value, opened := strings.CutPrefix(value, ":")
		value, parameters, closed := strings.Cut(value, ":")
		if !opened || !closed || parameters != "" && parameters[0] != ';' {
			return nil
		}
		if key == "sha-256" {
			sum = fromBase64(value)
		}
	}
	return sum
}

// fromBase64 decodes; padding may be absent (RFC 9651 4.2.7). Nil if s is none.
func fromBase64(s string) []byte {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil
	}
	return b
}

// fromHex decodes a SHA-256 in lower-case hex. Nil if s is none.
func fromHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size || s != strings.ToLower(s) {
		return nil
	}
	return b
}

// Check holds a sum of the transfer's content against one declaration. Equal
// digests are a match, however little was known; to differ, both must be of the
// same bytes.
func (s Sum) Check(t *transfer.Transfer, d Declared) Verdict {
	switch {
	case !d.Known:
		return NotComparable
	case s.SHA256 == d.SHA256:
		return Match
	case s.partial(t), d.of != ofContent && t.Extent != transfer.Whole, d.of == ofBare && t.Coded:
		return NotComparable
	}
	return Mismatch
}

// Judge holds a sum against all declarations: one that differs tells, then one that
// is the same. It gives the one that told, if there is any.
func (s Sum) Judge(t *transfer.Transfer, all []Declared) (verdict Verdict, by Declared) {
	for i := range all {
		if v := s.Check(t, all[i]); v > verdict {
			verdict, by = v, all[i]
		}
	}
	return verdict, by
}
