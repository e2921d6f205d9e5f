package transfer

import (
	"net/http"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/artifact"
)

// Large is from which length on content is an object's whatever it is, in bytes.
const Large = 1 << 20

// IsUpload says whether what a request carries is an object rather than a call: it is
// large, of a length that a PUT does not tell, a piece of something, declared by a
// digest, or goes to a store of objects. An empty one has no content. It allocates
// nothing of most that are not.
func IsUpload(protocol string, req *l7.RequestHead, empty bool) bool {
	switch req.Method {
	case http.MethodPut, http.MethodPost, http.MethodPatch:
	default:
		return false
	}
	c := told(req.Fields)
	switch {
	case c.piece, c.declared, c.length >= Large, c.length < 0 && req.Method == http.MethodPut && !empty:
		return true
	case keepsObjects(protocol):
		o := objectOf(protocol, req.Path)
		return !o.unclear && (req.Method == http.MethodPut || o.named())
	}
	return strings.Contains(req.Path, "upload") && objectOf(protocol, req.Path).upload != ""
}

// IsDownload says whether what an answer carries is an object rather than a call's
// result: it is large, a range, declared by a digest, comes from a store of objects,
// or is of a length that is not told and of a version that is. It allocates nothing of
// most that are not.
func IsDownload(protocol string, req *l7.RequestHead, answer *l7.ResponseHead) bool {
	switch {
	case req.Method != http.MethodGet || answer.Status != http.StatusOK && answer.Status != http.StatusPartialContent:
		return false
	case answer.Status == http.StatusPartialContent || req.Fields.Has("range"):
		return true
	}
	c := told(answer.Fields)
	switch {
	case c.events:
		return false
	case c.piece, c.declared, c.length >= Large, c.length < 0 && c.version:
		return true
	}
	return keepsObjects(protocol) && !objectOf(protocol, req.Path).unclear
}

// keepsObjects says that services of a protocol keep artifacts, and do nothing else: a
// hub's API answers calls, too.
func keepsObjects(protocol string) bool { return artifact.Kept(protocol) && protocol != "hub" }

// named says that an object's name says what is in it, or what it is a piece of.
func (o *object) named() bool { return o.digest != "" || o.upload != "" }

// content is what a head says of the content behind it.
type content struct {
	length   int64 // -1 if it is not told
	piece    bool  // its place in a whole is told
	declared bool  // so is a digest
	version  bool  // or which version of something it is, or that it is only bytes
	events   bool  // it is a stream of events
}

// told reads it, in one pass: it is done of every exchange.
func told(f l7.Fields) (c content) {
	c.length = -1
	for i := range f {
		value := f[i].Value
		switch f[i].Name {
		case "content-length":
			if n, err := l7.ParseLength(value); err == nil {
				c.length = n
			}
		case "content-range":
			c.piece = true
		case "content-digest", "repr-digest", "docker-content-digest", "x-amz-checksum-sha256":
			c.declared = true
		case "x-amz-content-sha256": // or UNSIGNED-PAYLOAD and the like
			c.declared = c.declared || isHex(value, 64)
		case "etag", "last-modified":
			c.version = true
		case "content-type":
			c.version = c.version || value == "application/octet-stream"
			c.events = strings.HasPrefix(value, "text/event-stream")
		}
	}
	return c
}
