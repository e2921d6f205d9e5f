//go:build linux

package interop

import (
	"errors"
	"io"
	"log"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// forge is a registry behind a mesh, to which the orchestrator may push models alone.
type forge struct {
	*testing.T
	m      *meshtest.Mesh
	at     place
	noting *noting
}

func newForge(t *testing.T) *forge {
	t.Helper()
	f := &forge{T: t, at: serveAt(t, "forge", "oci", &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))})}
	f.m = meshWith(t, func(cfg *localmesh.Config) {
		const intent = "    allow: {from: orchestrator, to: forge}\n"
		cfg.Policy = []byte(meshtest.Edit(t, string(cfg.Policy), intent, intent+
			"    when: artifact.operation != \"push\" || http.path.startsWith(\"/v2/llm/blobs/\") || artifact.kind == \"model\"\n"))
	}, f.at)
	f.noting = &noting{RoundTripper: asOrchestrator(t, f.m, "h2").Transport, crossings: map[string]string{}}
	return f
}

// push pushes an image as repository llm, through the mesh.
func (f *forge) push(image v1.Image) error {
	ref := must(name.ParseReference(f.at.host() + "/llm:v1"))(f.T)
	return remote.Write(ref, image, remote.WithTransport(f.noting), remote.WithContext(f.m.Context))
}

// record is that of the crossing of a request.
func (f *forge) record(request string) *crossingv1.Record {
	f.noting.mu.Lock()
	defer f.noting.mu.Unlock()
	return f.m.Record(f.T, f.noting.crossings[request])
}

// TestManifestContradicts holds that an image does not become reachable where only models
// may be pushed, whose layers are there when its manifest tells; and that a model does.
func TestManifestContradicts(t *testing.T) {
	f := newForge(t)
	image := must(random.Image(1<<10, 2))(t)
	const pushed = "PUT /v2/llm/manifests/v1"

	var refused *transport.Error
	if err := f.push(image); !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden || refused.Errors[0].Code != transport.DeniedErrorCode {
		t.Fatalf("an image: %v", err)
	}
	r := f.record(pushed)
	if o := r.GetOperation(); r.GetEgress().GetReason() != crossingv1.Reason_NO_INTENT || o.GetName() != "push" || o.GetArtifact().GetKind() != "image" {
		t.Errorf("record: %v", r)
	}
	there := must(name.ParseReference(f.at.addr()+"/llm:v1", name.Insecure))(t)
	if _, err := remote.Get(there); !errors.As(err, &refused) || refused.StatusCode != http.StatusNotFound {
		t.Errorf("in the registry: %v", err)
	}
	if err := take(must(remote.Layer(there.Context().Digest(must(must(image.Layers())(t)[0].Digest())(t).String())))(t)); err != nil {
		t.Errorf("its layer: %v", err)
	}

	model := mutate.ConfigMediaType(image, "application/vnd.cncf.model.config.v1+json")
	if err := f.push(model); err != nil {
		t.Fatalf("a model: %v", err)
	}
	r = f.record(pushed)
	if o := r.GetOperation(); !r.GetAgree() || o.GetArtifact().GetKind() != "model" || r.GetIngress().GetTransfer().GetKind() != "model" {
		t.Errorf("record: %v", r)
	}
	ref := must(name.ParseReference(f.at.host() + "/llm:v1"))(t)
	if _, err := remote.Get(ref, remote.WithTransport(f.noting), remote.WithContext(f.m.Context)); err != nil {
		t.Fatal(err)
	}
	if r = f.record("GET /v2/llm/manifests/v1"); !r.GetAgree() || r.GetEgress().GetTransfer().GetKind() != "model" {
		t.Errorf("record of a pull: %v", r)
	}
}
