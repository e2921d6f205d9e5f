// Package manifest reads of what kind an OCI manifest is, or an index of several, while it
// streams by. OCI's own media types are of anything: what is in the manifest tells. It
// keeps nothing of it and decides nothing.
//
// One invariant: where it tells a kind, whoever goes by the type of the artifact, of the
// config or of the layers comes to no other. Where two would differ, it fails: as it does
// where one reader takes the same bytes for a manifest and another for an index
// (CVE-2021-41190).
package manifest

import (
	"io"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/artifact"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// place is what stands somewhere in a manifest.
type place uint8

const (
	document place = iota
	ownType
	artifactType
	config
	configType
	layers
	layer
	layerType
	manifests
	member
	memberType
	platform
)

// wanted is what tells of what kind a manifest is (OCI image specification v1.1,
// manifest.md and image-index.md).
var wanted = jsonscan.MustSchema(map[string]place{
	"": document, "/mediaType": ownType, "/artifactType": artifactType,
	"/config": config, "/config/mediaType": configType,
	"/layers": layers, "/layers/*": layer, "/layers/*/mediaType": layerType,
	"/manifests": manifests, "/manifests/*": member, "/manifests/*/artifactType": memberType, "/manifests/*/platform": platform,
})

// Reader reads one manifest. It is not safe for concurrent use.
type Reader struct {
	scan  jsonscan.Scanner
	head  string // the media type that it comes with; "" if that is not known
	err   error
	whole bool

	declared, config string // kinds, by what their types tell
	named            bool   // it has an artifactType, whatever that is
	holds            bool   // a layer, or a manifest of an index, is of a model
	single, index    bool   // it has what a manifest has; it has what an index has
	members, running int64  // manifests of an index; those of them that run on a platform
	mixed            bool   // one of its manifests is of something else than an image, as it says
}

// New begins to read what comes with that media type, "" if it comes with none.
func New(mediaType string) *Reader {
	r := &Reader{head: mediaType}
	r.scan.Reset(wanted.Paths, (*handler)(r))
	return r
}

var _ io.Writer = (*Reader)(nil)

// Write takes a piece. Its error is final, and an *inspect.Error.
func (r *Reader) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.scan.Write(p)
	if err != nil {
		r.err = inspect.Scanned(err)
	}
	return n, r.err
}

// End says that all of it has come. Its error is as that of Write.
func (r *Reader) End() error {
	if r.err != nil {
		return r.err
	}
	if err := r.scan.End(); err != nil {
		r.err = inspect.Scanned(err)
	}
	r.whole = r.err == nil
	return r.err
}

// Kind is of what kind it is: "" if it does not say, or has not yet. That it is a model,
// one place in it tells. That it is an image, all of it does, for any of it might say
// otherwise; and that it is what it comes as.
func (r *Reader) Kind() string {
	switch {
	case r.err != nil:
		return ""
	case r.declared == artifact.Model || r.config == artifact.Model || r.holds:
		return artifact.Model
	case r.whole && KindOf(r.head) == artifact.Model:
		return artifact.Model
	case !r.whole, r.named && r.declared != artifact.Image:
		return ""
	case r.config == artifact.Image, r.index && !r.mixed && r.members > 0 && r.running == r.members:
		return artifact.Image
	}
	return ""
}

// contradicts says that what is known is of two kinds, or is a manifest and an index.
func (r *Reader) contradicts() error {
	model := KindOf(r.head) == artifact.Model || r.declared == artifact.Model
	switch {
	case r.single && r.index:
		return inspect.Ambiguous("it is a manifest and an index", nil)
	case model && r.config == artifact.Image, r.declared == artifact.Image && (KindOf(r.head) == artifact.Model || r.config == artifact.Model || r.holds):
		return inspect.Ambiguous("it is a model by one media type, and an image by another", nil)
	}
	return nil
}

// handler is a Reader that is told of values, which is not for others to do.
type handler Reader

var _ jsonscan.Handler = (*handler)(nil)

func (h *handler) Value(path int, kind jsonscan.Kind, text []byte) error {
	r, is := (*Reader)(h), wanted.Is[path]
	switch is {
	case document:
		if kind != jsonscan.Object {
			return inspect.Unreadable("it is no JSON object", nil)
		}
		return nil
	case ownType, artifactType, configType, layerType, memberType:
		if kind == jsonscan.String {
			return r.typed(is, strings.ToLower(string(text)))
		}
		if kind != jsonscan.Null {
			return inspect.Unreadable("a media type is no string", nil)
		}
		return nil
	}
	return r.shaped(is, kind)
}

// shaped takes an object or an array, by which a manifest and an index differ. What is
// null is not there.
func (r *Reader) shaped(is place, kind jsonscan.Kind) error {
	want := jsonscan.Object
	if is == layers || is == manifests {
		want = jsonscan.Array
	}
	if is == member {
		r.members++
	}
	switch kind {
	case jsonscan.Null:
		return nil
	case want:
	default:
		return inspect.Unreadable("it is not made as a manifest is", nil)
	}
	switch is {
	case config, layers:
		r.single = true
	case manifests:
		r.index = true
	case platform:
		r.running++
	}
	return r.contradicts()
}

// typed takes a media type.
func (r *Reader) typed(is place, mediaType string) error {
	kind := KindOf(mediaType)
	switch is {
	case ownType:
		if r.head != "" && mediaType != r.head {
			return inspect.Ambiguous("its media type is another than the content-type says", nil)
		}
	case artifactType:
		r.declared, r.named = kind, mediaType != ""
	case configType:
		r.config = kind
	case memberType:
		r.mixed, r.holds = r.mixed || kind != artifact.Image, r.holds || kind == artifact.Model
	case layerType:
		r.holds = r.holds || kind == artifact.Model
	}
	return r.contradicts()
}
