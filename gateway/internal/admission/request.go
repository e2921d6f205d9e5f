package admission

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/digest"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// Request says why a request may not go on, by its head alone; nil if it may, as far as
// that tells. The error is an *Error.
func (c *Control) Request(req *l7.RequestHead) error {
	if c == nil {
		return nil
	}
	switch req.Method {
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch:
	default:
		return nil // it moves nothing by its name
	}
	if c.oci() {
		if err := c.names(req.Path); err != nil {
			return err
		}
	}
	if req.Method == http.MethodGet {
		return nil
	}
	return c.upload(req)
}

// names looks at the digests in the name of what is asked of a registry: in the path, of
// an upload, or of a blob that it is to take from another of its repositories.
func (c *Control) names(target string) error {
	_, query, _ := strings.Cut(target, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return refuse("its query is not well formed, and may name a digest")
	}
	for _, text := range values["mount"] {
		if s, ok := policy.ParseSHA256(text); !ok || !c.allows(s) {
			return refuse("the blob to mount is not allowed%s", c.hint())
		}
	}
	for _, text := range values["digest"] {
		if s, ok := policy.ParseSHA256(text); ok && !c.allows(s) {
			return refuse("%v is not allowed%s", Sum(s), c.hint())
		}
	}
	if s, ok := named(target); ok && !c.allows(s) {
		return refuse("%v is not allowed%s", s, c.hint())
	}
	return nil
}

// copied are fields by which a store takes an object from elsewhere, of which no content
// passes that could be digested.
var copied = [...]string{"x-amz-copy-source", "x-ms-copy-source", "x-goog-copy-source"}

// upload looks at what the head of a request tells of the content behind it.
func (c *Control) upload(req *l7.RequestHead) error {
	for _, name := range copied {
		if req.Fields.Has(name) {
			return refuse("the destination is to copy an object, and nobody knows of what digest")
		}
	}
	t, ok := transfer.Of(c.parties, req, nil)
	switch {
	case !ok:
		return nil
	case t.Extent == transfer.Part, t.Extent == transfer.Ranges, t.Extent == transfer.Range && t.First > 0:
		return refuse("a part of an object cannot be held against digests: send it as a whole")
	case l7.HasToken(req.Fields.Get("content-encoding"), "aws-chunked"):
		return refuse("its content is signed in pieces (aws-chunked), so that its digest is not the object's")
	}
	return c.declared(&t, digest.Declarations(&t, req, nil))
}

// declared looks at what is said of a content of which all of the object comes, as it is.
func (c *Control) declared(t *transfer.Transfer, all []digest.Declared) error {
	if t.Extent != transfer.Whole || t.Coded {
		return nil
	}
	for i := range all {
		if d := &all[i]; d.Known && !c.allows(d.SHA256) {
			return refuse("%v is not allowed, which %s declares%s", Sum(d.SHA256), d.By, c.hint())
		}
	}
	return nil
}
