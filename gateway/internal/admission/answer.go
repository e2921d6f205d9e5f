package admission

import (
	"net/http"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/digest"
)

// Answer begins to hold the content of an answer. It may be Refused by its head already. It
// is nil if there is nothing to hold.
func (c *Control) Answer(req *l7.RequestHead, answer *l7.ResponseHead, ended bool) *Content {
	switch {
	case c == nil, ended:
		return nil
	case answer.Status/100 != 2:
		return &Content{control: c, most: aside, free: true}
	case c.isPing(req):
		return &Content{control: c, most: pong, free: true}
	}
	content := &Content{control: c, coded: answer.Fields.Has("content-encoding"), err: c.download(req, answer)}
	if !c.oci() || req.Method != http.MethodGet {
		return content
	}
	content.want, content.named = named(req.Path)
	if strings.Contains(req.Path, "/manifests/") {
		content.names = newManifest()
	}
	return content
}

// download looks at what the head of an answer tells of the content behind it.
func (c *Control) download(req *l7.RequestHead, answer *l7.ResponseHead) error {
	t, ok := transfer.Of(c.parties, req, answer)
	switch {
	case !ok || t.Direction != transfer.Download:
		return nil
	case answer.Status == http.StatusPartialContent && t.Extent != transfer.Whole:
		return refuse("a part of an object cannot be held against digests: ask for all of it")
	}
	return c.declared(&t, digest.Declarations(&t, req, answer))
}
