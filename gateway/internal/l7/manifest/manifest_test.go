package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/artifact"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// Media types that the tests are about.
const (
	ofManifest  = "application/vnd.oci.image.manifest.v1+json"
	ofIndex     = "application/vnd.oci.image.index.v1+json"
	ofDocker    = "application/vnd.docker.distribution.manifest.v2+json"
	ofModel     = "application/vnd.cncf.model.manifest.v1+json"
	imageConfig = "application/vnd.oci.image.config.v1+json"
	modelConfig = "application/vnd.cncf.model.config.v1+json"
	emptyConfig = "application/vnd.oci.empty.v1+json"
)

// read is what a manifest is that comes in pieces of that many bytes.
func read(mediaType, content string, piece int) (kind string, err error) {
	r := New(mediaType)
	for p := range slices.Chunk([]byte(content), piece) {
		if _, err := r.Write(p); err != nil {
			return r.Kind(), err
		}
	}
	err = r.End()
	return r.Kind(), err
}

func TestKind(t *testing.T) {
	const layer = `"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip"}]`
	config := func(of string) string { return `"config":{"mediaType":"` + of + `"}` }
	own := func(of string) string { return `"mediaType":"` + of + `"` }
	as := func(of string) string { return `"artifactType":"` + of + `"` }
	const arm, amd = `{"platform":{"os":"linux","architecture":"arm64"}}`, `{"platform":{"os":"linux","architecture":"amd64"}}`
	for name, c := range map[string]struct {
		head, content string
		want          string
		fault         error
	}{
		"an image":                          {ofManifest, own(ofManifest) + "," + config(imageConfig) + "," + layer, artifact.Image, nil},
		"an image of Docker's":              {ofDocker, own(ofDocker) + "," + config("application/vnd.docker.container.image.v1+json"), artifact.Image, nil},
		"an image that says so":             {ofManifest, as(imageConfig) + "," + config(imageConfig), artifact.Image, nil},
		"a model by its artifact":           {ofManifest, as(ofModel) + "," + config(emptyConfig), artifact.Model, nil},
		"a model by its config":             {ofManifest, config(modelConfig) + "," + layer, artifact.Model, nil},
		"a model by a layer":                {ofManifest, config(emptyConfig) + `,"layers":[{},{"mediaType":"application/vnd.cncf.model.weight.v1.raw"}]`, artifact.Model, nil},
		"a model by its head":               {ofModel, config(emptyConfig), artifact.Model, nil},
		"a model of Ollama's":               {ofDocker, config("application/vnd.docker.container.image.v1+json") + `,"layers":[{"mediaType":"application/vnd.ollama.image.model"}]`, artifact.Model, nil},
		"a model of KitOps'":                {ofManifest, config("application/vnd.kitops.modelkit.config.v1+json") + "," + as("application/vnd.kitops.modelkit.manifest.v1+json"), artifact.Model, nil},
		"a model of an artifact unknown":    {ofManifest, config(modelConfig) + "," + as("application/vnd.example"), artifact.Model, nil},
		"in upper case":                     {ofManifest, config(strings.ToUpper(modelConfig)), artifact.Model, nil},
		"something else":                    {ofManifest, config("application/vnd.cncf.helm.config.v1+json"), "", nil},
		"an artifact of an image's config":  {ofManifest, config(imageConfig) + "," + as("application/vnd.example"), "", nil},
		"an artifact of no type":            {ofManifest, config(imageConfig) + "," + as(""), artifact.Image, nil},
		"null":                              {ofManifest, config(imageConfig) + `,"artifactType":null,"manifests":null`, artifact.Image, nil},
		"an index of images":                {ofIndex, `"manifests":[` + arm + "," + amd + "]", artifact.Image, nil},
		"an index of one image and another": {ofIndex, `"manifests":[` + arm + ",{}]", "", nil},
		"an index of something else":        {ofIndex, `"manifests":[{"artifactType":"application/vnd.example","platform":{}}]`, "", nil},
		"an index of models":                {ofIndex, `"manifests":[{"artifactType":"application/vnd.docker.ai.model.config.v1+json","platform":{}}]`, artifact.Model, nil},
		"an index that is a model":          {ofIndex, as(ofModel) + `,"manifests":[]`, artifact.Model, nil},
		"an index of nothing":               {ofIndex, `"manifests":[]`, "", nil},
		"nothing":                           {"", "", "", nil},
		"a model, and an image's config":    {ofManifest, as(ofModel) + "," + config(imageConfig), "", inspect.ErrAmbiguous},
		"the other way round":               {ofManifest, config(imageConfig) + "," + as(ofModel), "", inspect.ErrAmbiguous},
		"a model's head over an image":      {ofModel, config(imageConfig), "", inspect.ErrAmbiguous},
		"an image with a model's layer":     {ofManifest, as(imageConfig) + `,"layers":[{"mediaType":"application/vnd.docker.ai.gguf.v3"}]`, "", inspect.ErrAmbiguous},
		"another type than the head's":      {ofManifest, own(ofIndex), "", inspect.ErrAmbiguous},
		"a manifest and an index":           {"", `"layers":[],"manifests":[]`, "", inspect.ErrAmbiguous},
		"a key twice":                       {ofManifest, config(modelConfig) + "," + config(imageConfig), "", inspect.ErrAmbiguous},
		"a key in another case":             {ofManifest, config(modelConfig) + `,"ArtifactType":"x"`, "", inspect.ErrAmbiguous},
		"a config that is a text":           {ofManifest, as(ofModel) + `,"config":""`, "", inspect.ErrUnreadable},
		"a layer that is a number":          {ofManifest, config(modelConfig) + `,"layers":[1]`, "", inspect.ErrUnreadable},
		"layers that are an object":         {ofManifest, config(modelConfig) + `,"layers":{}`, "", inspect.ErrUnreadable},
		"a type that is no text":            {ofManifest, `"artifactType":["x"]`, "", inspect.ErrUnreadable},
	} {
		for _, piece := range []int{1, 7, 4 << 10} {
			got, err := read(c.head, "{"+c.content+"}", piece)
			if got != c.want || !errors.Is(err, c.fault) || c.fault == nil && err != nil {
				t.Errorf("%s, in pieces of %d: %q, %v, want %q, %v", name, piece, got, err, c.want, c.fault)
			}
		}
	}
}

// TestNoManifest: of what is no JSON object, nothing is told.
func TestNoManifest(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "an array": "[]", "cut off": `{"config":{"mediaType":"` + imageConfig + `"}`, "more": `{"config":{"mediaType":"` + modelConfig + `"}}{}`,
	} {
		if kind, err := read(ofManifest, content, 3); kind != "" || !errors.Is(err, inspect.ErrUnreadable) {
			t.Errorf("%s: %q, %v", name, kind, err)
		}
	}
}

// TestTold: that it is a model is told as soon as it says so; that it is an image, once
// nothing can say otherwise.
func TestTold(t *testing.T) {
	for config, want := range map[string]string{modelConfig: artifact.Model, imageConfig: ""} {
		r := New(ofManifest)
		if _, err := r.Write([]byte(`{"config":{"mediaType":"` + config + `"},`)); err != nil || r.Kind() != want {
			t.Errorf("%s: %q, %v, want %q", config, r.Kind(), err, want)
		}
	}
}

func TestTypeOf(t *testing.T) {
	field := func(value string) l7.Field { return l7.Field{Name: "content-type", Value: value} }
	for name, c := range map[string]struct {
		fields l7.Fields
		want   string
	}{
		"one":       {l7.Fields{field("Application/Vnd.OCI.image.index.v1+json; charset=utf-8")}, ofIndex},
		"none":      {nil, ""},
		"two":       {l7.Fields{field(ofIndex), field(ofIndex)}, ""},
		"malformed": {l7.Fields{field("a; =")}, ""},
	} {
		if got := TypeOf(c.fields); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// plain is a manifest as encoding/json reads it.
type plain struct {
	MediaType, ArtifactType string
	Config                  struct{ MediaType string }
	Layers                  []struct{ MediaType string }
	Manifests               []struct{ ArtifactType string }
}

// kinds are all that a manifest says of its kind.
func (p *plain) kinds() map[string]bool {
	types := []string{p.MediaType, p.ArtifactType, p.Config.MediaType}
	for i := range p.Layers {
		types = append(types, p.Layers[i].MediaType)
	}
	for i := range p.Manifests {
		types = append(types, p.Manifests[i].ArtifactType)
	}
	found := map[string]bool{}
	for _, mediaType := range types {
		found[KindOf(strings.ToLower(mediaType))] = true
	}
	return found
}

// FuzzReader: however it is cut, it is of one kind, and of none that encoding/json would
// not find there, too; what is an image has nothing of a model.
func FuzzReader(f *testing.F) {
	for _, content := range []string{
		`{"config":{"mediaType":"` + imageConfig + `"},"layers":[{"mediaType":"x"}]}`, `{"artifactType":"` + ofModel + `","config":{"mediaType":"` + emptyConfig + `"}}`,
		`{"mediaType":"` + ofIndex + `","manifests":[{"platform":{}},{"artifactType":"` + modelConfig + `"}]}`, `{"config":null,"config":{"mediaType":"` + modelConfig + `"}}`,
	} {
		f.Add("", content, 3)
		f.Add(ofIndex, content, 1)
	}
	f.Fuzz(func(t *testing.T, head, content string, piece int) {
		kind, err := read(head, content, 1+max(piece, 0)%64)
		whole, wholeErr := read(head, content, len(content)+1)
		if kind != whole || fmt.Sprint(err) != fmt.Sprint(wholeErr) {
			t.Fatalf("%q, %v in pieces; %q, %v as a whole", kind, err, whole, wholeErr)
		}
		if kind == "" {
			return
		}
		var p plain
		if err := json.Unmarshal([]byte(content), &p); err != nil {
			t.Fatalf("%q is %s, and encoding/json finds %v", content, kind, err)
		}
		found := p.kinds()
		if kind == artifact.Model && !found[artifact.Model] && KindOf(head) != artifact.Model || kind == artifact.Image && found[artifact.Model] {
			t.Errorf("%q is %s, and says %v", content, kind, found)
		}
	})
}
