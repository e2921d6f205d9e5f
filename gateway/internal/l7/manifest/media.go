package manifest

import (
	"mime"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/artifact"
)

// KindOf is what a media type of a manifest, its artifact, its config or a layer tells: ""
// if it may be of anything, as those of OCI's manifests and layers are, and as Docker's
// are, under which Ollama keeps models. Of datasets there is no media type of their own:
// they are layers of a model.
func KindOf(mediaType string) string {
	switch mediaType {
	case "application/vnd.oci.image.config.v1+json", // OCI image specification v1.1, media-types.md
		"application/vnd.docker.container.image.v1+json": // distribution, "Image Manifest V 2, Schema 2"
		return artifact.Image
	}
	for _, prefix := range [...]string{
		"application/vnd.cncf.model.",      // CNCF ModelPack, specs-go/v1/mediatype.go
		"application/vnd.cnai.model.",      // the same before it was CNCF's
		"application/vnd.docker.ai.",       // docker/model-spec
		"application/vnd.kitops.modelkit.", // kitops-ml/kitops, ModelKit
		"application/vnd.ollama.image.",    // ollama/ollama, the layers alone
	} {
		if strings.HasPrefix(mediaType, prefix) {
			return artifact.Model
		}
	}
	return ""
}

// TypeOf is the media type that fields say a content is of, in lower case and without
// parameters; "" if they do not say one.
func TypeOf(fields l7.Fields) string {
	value, ok := fields.Only("content-type")
	if !ok {
		return ""
	}
	name, _, err := mime.ParseMediaType(value)
	if err != nil {
		return ""
	}
	return name
}

// Is says that a media type is that of a manifest or an index.
func Is(mediaType string) bool {
	switch mediaType {
	case "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
		"application/vnd.cncf.model.manifest.v1+json", "application/vnd.cnai.model.manifest.v1+json":
		return true
	}
	return false
}
