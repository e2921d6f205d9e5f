//go:build linux

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// storage keeps a registry's blobs, gives others than were put where they were swapped,
// and counts which were asked for.
type storage struct {
	registry.BlobHandler
	mu      sync.Mutex
	swapped map[string][]byte
	asked   map[string]int
}

func (s *storage) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	s.mu.Lock()
	other, swapped := s.swapped[h.String()]
	s.asked[h.String()]++
	s.mu.Unlock()
	if swapped {
		return io.NopCloser(bytes.NewReader(other)), nil
	}
	return s.BlobHandler.Get(ctx, repo, h)
}

// asks is how often a blob was asked for since the last forget.
func (s *storage) asks(h v1.Hash) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[h.String()]
}

func (s *storage) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.asked)
}

func (s *storage) Put(ctx context.Context, repo string, h v1.Hash, rc io.ReadCloser) error {
	return s.BlobHandler.(registry.BlobPutHandler).Put(ctx, repo, h, rc)
}

// warehouse is a registry behind a mesh, from which the orchestrator may get what the
// policy lists.
type warehouse struct {
	*testing.T
	m       *meshtest.Mesh
	at      place
	storage *storage
}

// newWarehouse pushes images, each by its name, straight into a registry, and lists some.
func newWarehouse(t *testing.T, images map[string]v1.Image, listed ...string) *warehouse {
	t.Helper()
	w := &warehouse{T: t, storage: &storage{
		BlobHandler: registry.NewInMemoryBlobHandler(), swapped: map[string][]byte{}, asked: map[string]int{},
	}}
	w.at = serveAt(t, "warehouse", "oci", &http.Server{
		Handler: registry.New(registry.WithBlobHandler(w.storage), registry.Logger(log.New(io.Discard, "", 0))),
	})
	for path, image := range images {
		ref, err := name.ParseReference(w.at.addr()+"/"+path+":v1", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
	}
	w.storage.forget() // who pushed has asked, too
	var digests []string
	for _, path := range listed {
		digests = append(digests, fmt.Sprintf("%q", must(images[path].Digest())(t).String()))
	}
	w.m = meshWith(t, func(cfg *localmesh.Config) {
		const intent = "allow: {from: orchestrator, to: warehouse}\n"
		text := meshtest.Edit(t, string(cfg.Policy), intent, intent+"    require: {digest: {in: released}}\n")
		cfg.Policy = []byte(text + "\nlists:\n  released: {digests: [" + strings.Join(digests, ", ") + "]}\n")
	}, w.at)
	return w
}

// must takes a value that there has to be.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// noting notes which crossing each request was, by its method and path.
type noting struct {
	http.RoundTripper
	mu        sync.Mutex
	crossings map[string]string
}

func (n *noting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(req)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.crossings[req.Method+" "+req.URL.Path] = resp.Header.Get("Sallyport-Crossing")
	}
	return resp, err
}

// puller gets images through the mesh.
type puller struct {
	*warehouse
	noting *noting
}

// pullers do f by each version of HTTP.
func (w *warehouse) pullers(t *testing.T, f func(p *puller)) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			client := asOrchestrator(t, w.m, protocol)
			here := *w
			here.T = t
			f(&puller{&here, &noting{RoundTripper: client.Transport, crossings: map[string]string{}}})
		})
	}
}

// image asks for an image, of which the manifest comes at once.
func (p *puller) image(path string) (v1.Image, error) {
	ref, err := name.ParseReference(p.at.host() + "/" + path + ":v1")
	if err != nil {
		p.Fatal(err)
	}
	return remote.Image(ref, remote.WithTransport(p.noting), remote.WithContext(p.m.Context))
}

// layer gets a layer by its digest alone.
func (p *puller) layer(path string, digest v1.Hash) error {
	ref, err := name.NewDigest(p.at.host() + "/" + path + "@" + digest.String())
	if err != nil {
		p.Fatal(err)
	}
	layer, err := remote.Layer(ref, remote.WithTransport(p.noting), remote.WithContext(p.m.Context))
	if err != nil {
		return err
	}
	return take(layer)
}

// take reads a layer to its end.
func take(l v1.Layer) error {
	content, err := l.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(io.Discard, content)
	return err
}

// record is that of the crossing of a request.
func (p *puller) record(request string) *crossingv1.Record {
	p.Helper()
	p.noting.mu.Lock()
	defer p.noting.mu.Unlock()
	if p.noting.crossings[request] == "" {
		p.Fatalf("no crossing of %s in %v", request, p.noting.crossings)
	}
	return p.m.Record(p.T, p.noting.crossings[request])
}

// refused holds that a crossing was refused for its digest, and that the caller got no
// whole content of it: it gives what came, in bytes.
func (p *puller) refused(request string) (bytes uint64) {
	p.Helper()
	r := p.record(request)
	for _, end := range []*crossingv1.End{r.GetIngress(), r.GetEgress()} {
		if end.GetReason() == crossingv1.Reason_DIGEST_NOT_ALLOWED {
			return r.GetEgress().GetResponseBytes()
		}
	}
	p.Errorf("%s was not refused for its digest: %v", request, r)
	return 0
}

func layersOf(t *testing.T, image v1.Image) []v1.Layer { return must(image.Layers())(t) }

// TestPullByDigest: a client of registries pulls through the mesh what the policy lists, and
// nothing else: an image that is not listed comes in no part, and a layer that was swapped
// where it is kept never comes whole.
func TestPullByDigest(t *testing.T) {
	const size = 200_000 // more than is held back as a whole
	images := map[string]v1.Image{}
	for _, path := range []string{"models/listed", "models/other", "models/swapped"} {
		images[path] = must(random.Image(size, 2))(t)
	}
	w := newWarehouse(t, images, "models/listed", "models/swapped")
	swapped := layersOf(t, images["models/swapped"])[0]
	length := must(swapped.Size())(t)
	w.storage.swapped[must(swapped.Digest())(t).String()] = bytes.Repeat([]byte("x"), int(length))

	manifest := false // came
	w.pullers(t, func(p *puller) {
		first := must(layersOf(p.T, images["models/listed"])[0].Digest())(p.T)
		if err := p.layer("models/listed", first); manifest != (err == nil) {
			p.Errorf("a layer, its manifest having come %v: %v", manifest, err)
		}
		manifest = true
		image := must(p.image("models/listed"))(p.T)
		must(image.RawConfigFile())(p.T)
		moved := []v1.Hash{must(image.ConfigName())(p.T)}
		for _, layer := range layersOf(p.T, image) {
			if err := take(layer); err != nil {
				p.Errorf("a layer of the listed image: %v", err)
			}
			moved = append(moved, must(layer.Digest())(p.T))
		}
		for _, digest := range moved {
			r := p.record("GET /v2/models/listed/blobs/" + digest.String())
			if e, i := r.GetEgress().GetTransfer(), r.GetIngress().GetTransfer(); e.GetContentSha256() != digest.Hex || i.GetContentSha256() != digest.Hex || !r.GetAgree() {
				p.Errorf("record of %v: %v", digest, r)
			}
		}
	})
	w.pullers(t, func(p *puller) {
		_, err := p.image("models/other")
		if refused := new(transport.Error); !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden || refused.Errors[0].Code != transport.DeniedErrorCode {
			p.Errorf("the image that is not listed: %v", err)
		}
		if came := p.refused("GET /v2/models/other/manifests/v1"); came != 0 {
			p.Errorf("%d bytes came of its manifest", came)
		}
		for _, layer := range layersOf(p.T, images["models/other"]) {
			digest := must(layer.Digest())(p.T)
			if p.layer("models/other", digest) == nil {
				p.Error("a layer that is not listed came")
			}
			if came, asks := p.refused("GET /v2/models/other/blobs/"+digest.String()), w.storage.asks(digest); came != 0 || asks != 0 {
				p.Errorf("%d bytes came, and the registry was asked %d times", came, asks)
			}
		}
	})
	w.pullers(t, func(p *puller) {
		image := must(p.image("models/swapped"))(p.T)
		layers := layersOf(p.T, image)
		if err := take(layers[0]); err == nil {
			p.Error("the layer that was swapped came as a whole")
		}
		if came := p.refused("GET /v2/models/swapped/blobs/" + must(swapped.Digest())(p.T).String()); came >= uint64(length) {
			p.Errorf("all %d bytes came of it", came)
		}
		if err := take(layers[1]); err != nil {
			p.Errorf("the layer beside it: %v", err)
		}
	})
}
