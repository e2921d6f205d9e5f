package transfer

import (
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// upload reads what a request carries, and what an answer says of it.
func (t *Transfer) upload(req *l7.RequestHead, answer *l7.ResponseHead) bool {
	t.Direction = Upload
	t.Length, t.Coded = contentLength(req.Fields), req.Fields.Has("content-encoding")
	if t.object.oci && answer != nil {
		t.Held = held(answer.Fields)
	}
	f, piece := req.Fields, t.object.upload != ""
	switch {
	case !piece && req.Method != http.MethodPut && t.Length == 0:
		return false
	case piece && (t.Length == 0 || req.Method == http.MethodPost), f.Has("x-amz-copy-source"):
		t.Extent = None // it completes the upload, lists its parts, or names what the server has
	case t.object.unclear, framedByAWS(f): // about the object, or more than its bytes
	case piece && t.object.part > 0:
		t.Extent = Part
	case f.Has("content-range"):
		t.told(f)
	case piece && t.object.oci:
		if t.Length >= 0 && t.Held >= t.Length { // what the registry has ends with this piece
			t.Extent, t.First = Range, t.Held-t.Length
		}
	case req.Method == http.MethodPut || t.object.digest != "":
		t.Extent, t.First, t.Size = Whole, 0, t.Length
	}
	t.identify(t.uploaded(answer))
	return true
}

// told takes a request's Content-Range (RFC 9110 14.5); a registry's has no unit.
func (t *Transfer) told(f l7.Fields) {
	value, _ := f.Only("content-range")
	parse := parseContentRange
	if t.object.oci {
		parse = parseSpan
	}
	r, ok := parse(value)
	switch {
	case !ok || r.first >= 0 && t.Length >= 0 && t.Length != r.length():
		t.Anonymous = BadRange
	case r.first < 0:
		t.Extent, t.Size = None, r.size // it asks how far the upload has come
	default:
		t.carries(r)
	}
}

// uploaded is what names the version that an upload makes: the upload itself, its
// digest, or the tag that the server gives it (RFC 9110 9.3.4).
func (t *Transfer) uploaded(answer *l7.ResponseHead) validator {
	switch {
	case t.object.upload != "":
		return validator{byUpload, t.object.upload}
	case t.object.digest != "":
		return validator{byDigest, t.object.digest}
	case answer == nil && t.Anonymous == Identified:
		t.Anonymous = NotAnswered
	case answer != nil && t.Extent == Whole && answer.Status/100 == 2:
		if v := validatorOf(answer.Fields); v.kind == byTag {
			return v
		}
	}
	return validator{}
}

// held reads how many bytes of an upload a registry has: "Range: 0-N". It says 0-0
// of an upload that has nothing as of one that has a byte.
func held(f l7.Fields) int64 {
	value, _ := f.Only("range")
	if r, ok := parseSpan(value); ok && r.first == 0 && r.last > 0 {
		return r.length()
	}
	return -1
}

// framedByAWS says that an S3 client signs its content in frames within it.
func framedByAWS(f l7.Fields) bool {
	for i := range f {
		if f[i].Name == "content-encoding" && l7.HasToken(f[i].Value, "aws-chunked") {
			return true
		}
	}
	return false
}
