// Package transfer says what an exchange moves: which object, which version of
// it, which of its bytes, and under which id, so that ranges of one version that
// come one after another or side by side are told to be one transfer.
//
// Everything is read from heads that both gateways have, so that both come to
// the same, each on its own. Nothing of it decides.
package transfer

import (
	"net/http"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/manifest"
)

// Parties of a transfer, as both gateways know them from the crossing's header
// and the policy.
type Parties struct {
	Caller      string // its SPIFFE ID
	Destination string // its SPIFFE ID
	Service     string // its name in the policy
	Protocol    string // of the service: "oci" has forms of its own
}

// Direction in which content moves.
type Direction uint8

// Directions.
const (
	Download Direction = iota + 1 // content comes with the answer
	Upload                        // content goes with the request
)

// Extent is how much of an object the content of one message is.
type Extent uint8

// Extents.
const (
	Unclear Extent = iota // the heads do not tell
	Whole
	Range  // one range of bytes
	Ranges // several, each with a head of its own: multipart/byteranges
	Part   // a numbered part, whose place is known when all parts are there
	None   // the message moves nothing of the object: it completes or asks
)

// Transfer is what one exchange moves of an object.
type Transfer struct {
	Direction Direction
	Object    string // path, and what of the query names a version; never a secret
	Size      int64  // of the whole object in bytes, -1 if not told
	Extent    Extent
	First     int64     // offset of the content's first byte, -1 if not told
	Length    int64     // of the content in bytes as its head tells, -1 if only its end does
	Part      int       // number of the part, 0 if it is none
	Held      int64     // bytes of an upload that the server says it has, -1 if it does not say
	ID        ID        // zero unless Anonymous is Identified
	Anonymous Anonymous // why there is no id

	Coded    bool   // the content has a coding (RFC 9110 8.4)
	Lined    bool   // the object's type, or its name, says that it has a record on each line
	Manifest string // the media type of the OCI manifest that the content is; "" if it is none
	Digest   string // ALGORITHM:HEX in the object's name, or in that of an upload; "" if there is none

	parties Parties
	object  object
}

// Of says what an exchange transfers; answer is nil until there is one. It says
// false of what moves no object: gRPC, refusals, methods that are about
// something else. A request without a content-length may turn out to have no
// content.
func Of(p Parties, req *l7.RequestHead, answer *l7.ResponseHead) (Transfer, bool) {
	t := Transfer{Size: -1, First: -1, Length: -1, Held: -1, parties: p}
	if req.IsGRPC() {
		return t, false
	}
	t.object = objectOf(p.Protocol, req.Path)
	ok, content := false, req.Fields
	switch req.Method {
	case http.MethodGet:
		ok = t.object.upload == "" && t.download(req, answer) // or it asks about an upload
		if answer != nil {
			content = answer.Fields
		}
	case http.MethodPut, http.MethodPost, http.MethodPatch:
		ok = t.upload(req, answer)
	}
	if ok {
		t.Object, t.Part, t.Digest = t.object.String(), t.object.part, t.object.digest
		t.Lined = lined(t.object.path, content)
		t.Manifest = t.manifest(content)
	}
	return t, ok
}

// manifest is the media type of the manifest that the content is, all of it and without a
// coding.
func (t *Transfer) manifest(content l7.Fields) string {
	if !t.object.oci || t.Extent != Whole || t.Coded {
		return ""
	}
	if of := manifest.TypeOf(content); manifest.Is(of) {
		return of
	}
	return ""
}

// download reads what an answer carries, or what a request asks for.
func (t *Transfer) download(req *l7.RequestHead, answer *l7.ResponseHead) bool {
	t.Direction = Download
	if answer == nil {
		t.Anonymous = NotAnswered
		t.ask(req.Fields)
		return true
	}
	t.Length, t.Coded = contentLength(answer.Fields), answer.Fields.Has("content-encoding")
	v := validatorOf(answer.Fields)
	switch answer.Status {
	case http.StatusOK:
		t.Extent, t.First, t.Size = Whole, 0, t.Length
	case http.StatusPartialContent:
		t.partial(answer.Fields)
		if v.kind == noValidator && !answer.Fields.Has("etag") && !answer.Fields.Has("last-modified") {
			v = conditionOf(req.Fields, answer.Fields)
		}
	default:
		return false
	}
	if t.object.digest != "" {
		v = validator{byDigest, t.object.digest} // of the same content everywhere, whatever the server's tags
	}
	t.identify(v)
	return true
}

// ask reads which bytes a request asks for, in place of those that come.
func (t *Transfer) ask(f l7.Fields) {
	value, _ := f.Only("range")
	switch r, n := parseRange(value); {
	case n > 1:
		t.Extent = Ranges
	case n == 1:
		t.Extent, t.First = Range, r.first // -1 of a suffix
		if r.first >= 0 && r.last >= 0 {
			t.Length = r.length()
		}
	}
}

// partial reads which bytes a 206 carries (RFC 9110 15.3.7).
func (t *Transfer) partial(f l7.Fields) {
	if !f.Has("content-range") && byteranges(f.Get("content-type")) {
		t.Extent = Ranges // the size is in each part's head
		return
	}
	value, _ := f.Only("content-range")
	r, ok := parseContentRange(value)
	if !ok || r.first < 0 || t.Length >= 0 && t.Length != r.length() {
		t.Anonymous = BadRange
		return
	}
	t.carries(r)
}

// carries takes a range that was told.
func (t *Transfer) carries(r contentRange) {
	t.Extent, t.First, t.Length, t.Size = Range, r.first, r.length(), r.size
	if r.first == 0 && r.length() == r.size {
		t.Extent = Whole
	}
}

// byteranges says that a content type is multipart/byteranges (RFC 9110 14.6).
func byteranges(contentType string) bool {
	name, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimRight(name, " \t"), "multipart/byteranges")
}

// contentLength is the length of content that fields declare, or -1.
func contentLength(f l7.Fields) int64 {
	n, known, err := f.ContentLength()
	if err != nil || !known {
		return -1
	}
	return n
}
