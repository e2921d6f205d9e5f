package localmesh

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
)

// The one artefact that the scripted registry has: models/gpt-oss-20b:released.
const (
	artefact     = "models/" + model
	artefactTag  = "released"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	emptyType    = "application/vnd.oci.empty.v1+json"
	weightsType  = "application/vnd.sallyport.demo.weights"
	weights      = "these stand in for the weights of a model\n"
	emptyConfig  = "{}"
)

// scriptedRegistry stands in for a registry of models: it speaks as much of the
// OCI distribution protocol (section 3, pull) as its one artefact needs. It is no
// fake of the mesh's own parts.
func scriptedRegistry() http.Handler {
	manifest := artefactManifest()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		answer(w, map[string]any{})
	})
	for _, reference := range []string{artefactTag, digest(manifest)} {
		mux.HandleFunc("GET /v2/"+artefact+"/manifests/"+reference, blob(manifestType, manifest))
	}
	for _, content := range []string{weights, emptyConfig} {
		mux.HandleFunc("GET /v2/"+artefact+"/blobs/"+digest(content), blob("application/octet-stream", content))
	}
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		answer(w, map[string]any{"errors": []any{map[string]any{"code": "NAME_UNKNOWN", "message": "no such thing here"}}})
	})
	return mux
}

func artefactManifest() string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":%s,"layers":[%s]}`,
		manifestType, weightsType, descriptor(emptyType, emptyConfig), descriptor(weightsType, weights))
}

func descriptor(mediaType, content string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digest(content), len(content))
}

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// blob serves a content that its digest names. HEAD is answered as GET is.
func blob(mediaType, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Docker-Content-Digest", digest(content))
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		fmt.Fprint(w, content)
	}
}
