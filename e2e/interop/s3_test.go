//go:build linux

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// bucket is where the tests of S3 keep their objects; partSize is the least that a part may
// have that is not the last.
const (
	bucket   = "models"
	partSize = 5 << 20
)

// gguf is a model of so many bytes, and of its head.
func gguf(size int) []byte {
	head := []byte("GGUF\x03\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	return append(head, bytes.Repeat([]byte("weights "), size/8)...)
}

// calls notes the requests of a client in their order.
type calls struct {
	http.RoundTripper
	mu  sync.Mutex
	all []call
}

// call is a request: METHOD PATH, and its crossing.
type call struct{ request, crossing string }

func (c *calls) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(req)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(c.all, call{req.Method + " " + req.URL.Path, resp.Header.Get("Sallyport-Crossing")})
	}
	return resp, err
}

// take gives what was noted since the last time.
func (c *calls) take() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

// newStore is a store of objects with an empty bucket.
func newStore(t *testing.T) http.Handler {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	return gofakes3.New(backend).Server()
}

// asClient is an S3 client of a host.
func asClient(t *testing.T, host string, lookup minio.BucketLookupType, transport http.RoundTripper) *minio.Client {
	t.Helper()
	c, err := minio.New(host, &minio.Options{
		Creds: credentials.NewStaticV4("key", "secret", ""), Secure: true, Region: "us-east-1", BucketLookup: lookup, Transport: transport, MaxRetries: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// session does what clients of a store do, and gives what each step came to.
func session(ctx context.Context, c *minio.Client) (steps []string) {
	step := func(what string, result any, err error) {
		steps = append(steps, fmt.Sprintf("%s: %v, %v", what, result, err))
	}
	large := gguf(2*partSize + 100)
	info, err := c.PutObject(ctx, bucket, "dir/a b", bytes.NewReader([]byte("small")), 5, minio.PutObjectOptions{ContentType: "text/plain"})
	step("put", []any{info.Key, info.ETag, info.Size}, err)
	info, err = c.PutObject(ctx, bucket, "llm.gguf", bytes.NewReader(large), int64(len(large)), minio.PutObjectOptions{PartSize: partSize, NumThreads: 1})
	step("put in parts", []any{info.Key, info.ETag, info.Size}, err)
	var ranged minio.GetObjectOptions
	ranged.Set("Range", "bytes=3-12")
	text, err := get(ctx, c, "llm.gguf", ranged)
	step("a range", fmt.Sprintf("%q", text), err)
	text, err = get(ctx, c, "llm.gguf", minio.GetObjectOptions{})
	step("all of it", bytes.Equal(text, large), err)
	info, err = c.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "copy"}, minio.CopySrcOptions{Bucket: bucket, Object: "dir/a b"})
	step("copy", []any{info.Key, info.ETag}, err)
	buckets, err := c.ListBuckets(ctx)
	step("buckets", len(buckets), err)
	step("list", list(ctx, c), nil)
	stat, err := c.StatObject(ctx, bucket, "copy", minio.StatObjectOptions{})
	step("stat", []any{stat.Key, stat.Size, stat.ETag}, err)
	step("delete", nil, c.RemoveObject(ctx, bucket, "copy", minio.RemoveObjectOptions{}))
	_, err = c.StatObject(ctx, bucket, "copy", minio.StatObjectOptions{})
	step("what was deleted", nil, err)
	return append(steps, list(ctx, c)...)
}

func get(ctx context.Context, c *minio.Client, key string, o minio.GetObjectOptions) ([]byte, error) {
	core := minio.Core{Client: c}
	body, _, _, err := core.GetObject(ctx, bucket, key, o)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func list(ctx context.Context, c *minio.Client) (all []string) {
	for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true}) {
		all = append(all, fmt.Sprint(o.Key, " ", o.Size, " ", o.ETag, " ", o.Err))
	}
	return all
}

// TestS3 holds that a client of S3 has the same of a store through the mesh as without it,
// and that records say what each call asked for and moved.
func TestS3(t *testing.T) {
	direct := httptest.NewTLSServer(newStore(t)) // in plaintext a client frames parts in another way
	t.Cleanup(direct.Close)
	want := session(t.Context(), asClient(t, direct.Listener.Addr().String(), minio.BucketLookupPath, direct.Client().Transport))

	m, at := meshOfStore(t)
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			noted := &calls{RoundTripper: asOrchestrator(t, m, protocol).Transport}
			if d := cmp.Diff(want, session(t.Context(), asClient(t, at.host(), minio.BucketLookupPath, noted))); d != "" {
				t.Errorf("(-direct +through the mesh)\n%s", d)
			}
			var got []string
			for _, c := range noted.take() {
				got = append(got, c.request+": "+told(m.Record(t, c.crossing)))
			}
			if d := cmp.Diff(expected(), got); d != "" {
				t.Errorf("records (-want +got)\n%s", d)
			}
		})
	}
}

// meshOfStore is a mesh whose orchestrator may do anything in a store but copy what is
// secret.
func meshOfStore(t *testing.T) (*meshtest.Mesh, place) {
	t.Helper()
	at := serveAt(t, "store", "s3", &http.Server{Handler: newStore(t)})
	return meshWith(t, func(cfg *localmesh.Config) {
		const intent = "    allow: {from: orchestrator, to: store}\n"
		cfg.Policy = []byte(meshtest.Edit(t, string(cfg.Policy), intent, intent+
			"    when: artifact.operation != \"copy\" || !artifact.source.startsWith(\"secret/\")\n"))
	}, at), at
}

// told is what a record says of what was asked for, and of what moved.
func told(r *crossingv1.Record) string {
	o, e, i := r.GetOperation(), r.GetEgress().GetTransfer(), r.GetIngress().GetTransfer()
	text := o.GetName() + " " + o.GetArtifact().GetName()
	if source := o.GetArtifact().GetSource(); source != "" {
		text += " from " + source
	}
	if e.GetDigested() > 0 && o.GetName() != "list" && e.GetExtent() != crossingv1.Transfer_NONE {
		text += fmt.Sprintf(", %s %d %s", e.GetExtent(), e.GetDigested(), e.GetFormat())
	}
	if !r.GetAgree() || e.GetContentSha256() != i.GetContentSha256() || e.GetFormat() != i.GetFormat() {
		text += ", and both halves differ"
	}
	return text
}

// expected are the records of a session.
func expected() []string {
	large := len(gguf(2*partSize + 100))
	return []string{
		"PUT /models/dir/a b: push models/dir/a b, WHOLE 5 ",
		"POST /models/llm.gguf: push models/llm.gguf",
		fmt.Sprintf("PUT /models/llm.gguf: push models/llm.gguf, PART %d gguf", partSize),
		fmt.Sprintf("PUT /models/llm.gguf: push models/llm.gguf, PART %d ", partSize),
		fmt.Sprintf("PUT /models/llm.gguf: push models/llm.gguf, PART %d ", large-2*partSize),
		"POST /models/llm.gguf: push models/llm.gguf",
		"GET /models/llm.gguf: pull models/llm.gguf, RANGE 10 ",
		fmt.Sprintf("GET /models/llm.gguf: pull models/llm.gguf, WHOLE %d gguf", large),
		"PUT /models/copy: copy models/copy from models/dir/a b",
		"GET /: list ",
		"GET /models/: list models",
		"HEAD /models/copy: stat models/copy",
		"DELETE /models/copy: delete models/copy",
		"HEAD /models/copy: stat models/copy",
		"GET /models/: list models",
	}
}

// TestS3Refused holds that a client of S3 hears in its own words of what may not be done,
// and finds who to ask.
func TestS3Refused(t *testing.T) {
	m, at := meshOfStore(t)
	noted := &calls{RoundTripper: asOrchestrator(t, m, "h2").Transport}
	c := asClient(t, at.host(), minio.BucketLookupPath, noted)
	_, err := c.CopyObject(t.Context(), minio.CopyDestOptions{Bucket: bucket, Object: "k"}, minio.CopySrcOptions{Bucket: "secret", Object: "k"})
	var refused minio.ErrorResponse
	all := noted.take()
	if !errors.As(err, &refused) || refused.Code != "AccessDenied" || len(all) != 1 || refused.RequestID != all[0].crossing {
		t.Fatalf("%+v, %v", err, all)
	}
	r := m.Record(t, all[0].crossing)
	if r.GetEgress().GetReason() != crossingv1.Reason_NO_INTENT || r.GetOperation().GetName() != "copy" || r.GetOperation().GetArtifact().GetSource() != "secret/k" {
		t.Errorf("record: %v", r)
	}
}

// TestS3ByHost holds that a bucket in the name of the host is a destination that nobody
// knows: it is refused, with a record, whatever the bucket.
func TestS3ByHost(t *testing.T) {
	m, at := meshOfStore(t)
	noted := &calls{RoundTripper: asOrchestrator(t, m, "http/1.1").Transport}
	c := asClient(t, at.host(), minio.BucketLookupDNS, noted)
	_, err := c.PutObject(t.Context(), bucket, "k", bytes.NewReader([]byte("x")), 1, minio.PutObjectOptions{})
	all := noted.take()
	if err == nil || len(all) != 1 || all[0].request != "PUT /k" {
		t.Fatalf("%v, %v", err, all)
	}
	r := m.Record(t, all[0].crossing)
	if r.GetEgress().GetReason() != crossingv1.Reason_UNKNOWN_DESTINATION || r.GetOperation().GetAuthority() != bucket+"."+at.host() {
		t.Errorf("record: %v", r)
	}
}
