//go:build linux

package interop

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var objectSize = flag.Int64("object", 128<<20, "size in bytes of the object of TestObjectInFlatMemory; 107374182400 is 100 GiB")

// object is content that nobody holds: a block again and again, from any place on.
type object struct {
	size, at int64
}

// block is of a length that no buffer divides.
var block = func() []byte {
	b := make([]byte, 1<<16+1)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}()

func (o *object) Read(p []byte) (int, error) {
	if o.at >= o.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), o.size-o.at)]
	n := copy(p, block[o.at%int64(len(block)):])
	o.at += int64(n)
	return n, nil
}

func (o *object) Seek(offset int64, whence int) (int64, error) {
	o.at = offset + []int64{io.SeekStart: 0, io.SeekCurrent: o.at, io.SeekEnd: o.size}[whence]
	return o.at, nil
}

// sumOf is the SHA-256 of the object's bytes from first on, before last.
func sumOf(first, last int64) string {
	sum := sha256.New()
	if _, err := io.Copy(sum, &object{size: last, at: first}); err != nil {
		panic(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// shelf is a destination that keeps objects: it gives object N, of N bytes, whole and
// in ranges, and answers what is put there with its SHA-256. What it declares and
// where it breaks off, the query of a request says.
func shelf(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("ETag", `"part"`)
		fmt.Fprintf(w, "%x", sum.Sum(nil))
		return
	}
	size, err := strconv.ParseInt(strings.TrimPrefix(r.URL.Path, "/"), 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	if said := r.Header.Get("X-Declare"); said != "" {
		w.Header().Set("Content-Digest", said)
	}
	if r.Header.Get("X-Break-Off") != "" && r.Header.Get("Range") == "" {
		w = &breakingOff{w, size / 2}
	}
	http.ServeContent(w, r, "", time.Time{}, &object{size: size})
}

// breakingOff breaks off after so many bytes.
type breakingOff struct {
	http.ResponseWriter
	left int64
}

func (b *breakingOff) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left == 0 {
		http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// serveShelf is a mesh whose orchestrator may ask a shelf for anything.
func serveShelf(t testing.TB) (*meshtest.Mesh, place) {
	t.Helper()
	at := serveAt(t, "shelf", "s3", &http.Server{Handler: http.HandlerFunc(shelf)})
	return meshWith(t, nil, at), at
}

// taker is a client of a shelf.
type taker struct {
	*testing.T
	m      *meshtest.Mesh
	client *http.Client
	at     place
}

// do makes a request, with fields of names and values in turn.
func (c *taker) do(method, target string, body io.Reader, nv ...string) *http.Response {
	c.Helper()
	req, err := http.NewRequestWithContext(c.m.Context, method, "https://"+c.at.host()+target, body)
	if err != nil {
		c.Fatal(err)
	}
	for i := 0; i < len(nv); i += 2 {
		req.Header.Set(nv[i], nv[i+1])
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { resp.Body.Close() })
	return resp
}

// moved is what both ends recorded of an exchange.
func (c *taker) moved(resp *http.Response) (egress, ingress *crossingv1.Transfer) {
	c.Helper()
	return recorded(c.T, c.m, resp.Header.Get("Sallyport-Crossing"))
}

func recorded(t *testing.T, m *meshtest.Mesh, id string) (egress, ingress *crossingv1.Transfer) {
	t.Helper()
	r := m.Record(t, id)
	if !r.GetAgree() || r.GetEgress().GetTransfer() == nil || r.GetIngress().GetTransfer() == nil {
		t.Fatalf("record: %v", r)
	}
	return r.GetEgress().GetTransfer(), r.GetIngress().GetTransfer()
}

// takers do f by each version of HTTP.
func takers(t *testing.T, f func(c *taker)) {
	m, at := serveShelf(t)
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) { f(&taker{t, m, asOrchestrator(t, m, protocol), at}) })
	}
}

// TestObjectInFlatMemory: an object goes down and up through the mesh. However large
// it is, this process, which is the mesh, its caller and the destination, does not
// grow; and the record has the digest that the caller computes.
func TestObjectInFlatMemory(t *testing.T) {
	const growth = 16 << 20 // bytes, an eighth of the usual object: windows and pools fill
	takers(t, func(c *taker) {
		down := &gauge{t: c.T, sum: sha256.New()}
		resp := c.do(http.MethodGet, fmt.Sprintf("/%d", *objectSize), nil)
		if n, err := io.Copy(down, resp.Body); n != *objectSize || err != nil {
			c.Fatalf("%d bytes came, %v", n, err)
		}
		got, _ := c.moved(resp)
		down.holds(got, *objectSize, growth)

		up := &gauge{t: c.T, sum: sha256.New()}
		resp = c.do(http.MethodPut, "/up", io.TeeReader(&object{size: *objectSize}, up))
		said, err := io.ReadAll(resp.Body)
		if err != nil {
			c.Fatal(err)
		}
		got, _ = c.moved(resp)
		up.holds(got, *objectSize, growth)
		if string(said) != got.GetContentSha256() {
			c.Errorf("the destination took %s, the record has %s", said, got.GetContentSha256())
		}
	})
}

// gauge digests what passes, and looks from time to time at what memory this process
// holds. What could be collected does not count, however long that has been there: it
// tells of the collector, and of tests before this one.
type gauge struct {
	t           *testing.T
	sum         io.Writer
	n           int64
	began, most int64 // bytes in use: after a while, and at most
}

func (g *gauge) Write(p []byte) (int, error) {
	const often = 32 << 20
	before := g.n / often
	g.n += int64(len(p))
	if g.n/often != before {
		held := inUse()
		if g.began == 0 {
			g.began = held
		}
		g.most = max(g.most, held)
	}
	return g.sum.Write(p)
}

// inUse is what this process holds that is not garbage, in bytes.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func (g *gauge) holds(got *crossingv1.Transfer, size, growth int64) {
	g.t.Helper()
	g.t.Logf("%d MiB: %d KiB in use at first, %d KiB at most", size>>20, g.began>>10, g.most>>10)
	if g.began == 0 || g.most-g.began > growth {
		g.t.Errorf("memory grew from %d to %d bytes", g.began, g.most)
	}
	want := hex.EncodeToString(g.sum.(interface{ Sum(b []byte) []byte }).Sum(nil))
	if got.GetContentSha256() != want || got.GetDigested() != uint64(size) || got.GetPartial() {
		g.t.Errorf("transfer %v, want %d bytes with digest %s", got, size, want)
	}
}

// TestDownloadResumed: a caller leaves in mid-download and asks for the rest. Both
// records have one id, and each says which bytes it is of.
func TestDownloadResumed(t *testing.T) {
	const size = 8 << 20
	takers(t, func(c *taker) {
		target := fmt.Sprintf("/%d", size)
		ctx, leave := context.WithCancel(c.m.Context)
		defer leave()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.at.host()+target, nil)
		if err != nil {
			c.Fatal(err)
		}
		resp, err := c.client.Do(req)
		if err != nil {
			c.Fatal(err)
		}
		const half = size / 2
		if _, err := io.CopyN(io.Discard, resp.Body, half); err != nil {
			c.Fatal(err)
		}
		leave()
		resp.Body.Close()
		first, _ := c.moved(resp)

		resp = c.do(http.MethodGet, target, nil, "Range", fmt.Sprintf("bytes=%d-", half), "If-Range", resp.Header.Get("ETag"))
		if n, err := io.Copy(io.Discard, resp.Body); n != half || err != nil || resp.StatusCode != http.StatusPartialContent {
			c.Fatalf("%s, %d bytes, %v", resp.Status, n, err)
		}
		rest, _ := c.moved(resp)
		if first.GetId() == "" || first.GetId() != rest.GetId() {
			c.Errorf("ids %q and %q", first.GetId(), rest.GetId())
		}
		if !first.GetPartial() || first.GetExtent() != crossingv1.Transfer_WHOLE || first.GetDigested() < half ||
			first.GetContentSha256() != sumOf(0, int64(first.GetDigested())) {
			c.Errorf("the first half: %v", first)
		}
		if rest.GetPartial() || rest.GetExtent() != crossingv1.Transfer_RANGE || rest.GetFirst() != half || rest.GetSize() != size ||
			rest.GetContentSha256() != sumOf(half, size) {
			c.Errorf("the second half: %v", rest)
		}
	})
}

// TestUploadInParts: the parts of an upload have one id, and so has its end.
func TestUploadInParts(t *testing.T) {
	takers(t, func(c *taker) {
		ids := map[string]bool{}
		for part := range 3 {
			first, last := int64(part)<<20, int64(part+1)<<20
			resp := c.do(http.MethodPut, fmt.Sprintf("/k?partNumber=%d&uploadId=U", part+1), &object{size: last, at: first},
				"X-Amz-Content-Sha256", sumOf(first, last))
			got, _ := c.moved(resp)
			ids[got.GetId()] = true
			if got.GetPart() != uint32(part+1) || got.GetContentSha256() != sumOf(first, last) || got.GetDeclared() != crossingv1.Transfer_MATCH {
				c.Errorf("part %d: %v", part+1, got)
			}
		}
		end, _ := c.moved(c.do(http.MethodPost, "/k?uploadId=U", strings.NewReader("<CompleteMultipartUpload/>")))
		ids[end.GetId()] = true
		if len(ids) != 1 || ids[""] || end.GetExtent() != crossingv1.Transfer_NONE {
			c.Errorf("ids %v, and the end is %v", ids, end)
		}
	})
}

// TestWrongDigest: a destination declares another digest than what it sends has. The
// caller gets both, and both records say so.
func TestWrongDigest(t *testing.T) {
	wrong := sha256.Sum256([]byte("something else"))
	takers(t, func(c *taker) {
		resp := c.do(http.MethodGet, "/1000", nil, "X-Declare", "sha-256=:"+base64.StdEncoding.EncodeToString(wrong[:])+":")
		if n, err := io.Copy(io.Discard, resp.Body); n != 1000 || err != nil {
			c.Fatal(n, err)
		}
		egress, ingress := c.moved(resp)
		for _, got := range []*crossingv1.Transfer{egress, ingress} {
			if got.GetDeclared() != crossingv1.Transfer_MISMATCH || got.GetDeclaredBy() != "content-digest" ||
				got.GetDeclaredSha256() != hex.EncodeToString(wrong[:]) || got.GetContentSha256() != sumOf(0, 1000) {
				c.Errorf("transfer %v", got)
			}
		}
	})
}

// TestCurlResumes: a destination breaks off, and curl goes on from there.
func TestCurlResumes(t *testing.T) {
	bin := program(t, "curl", "apt-get install curl")
	m, at := serveShelf(t)
	c := newCurl(t, m, bin, at)
	for _, version := range []string{"--http1.1", "--http2"} {
		t.Run(version, func(t *testing.T) {
			dir := t.TempDir()
			file, heads := filepath.Join(dir, "object"), filepath.Join(dir, "heads")
			take := func(args ...string) (code int, tr *crossingv1.Transfer) {
				t.Helper()
				args = append(args, "-sS", version, "-D", heads, "-o", file, c.url+"/4194304")
				args = append(append(args, c.attach...), c.mtls...)
				out, code, err := ran(exec.CommandContext(m.Context, bin, args...))
				if err != nil {
					t.Fatal(err, out)
				}
				tr, _ = recorded(t, m, lastField(readFile(t, heads), "sallyport-crossing"))
				return code, tr
			}
			code, first := take("-H", "X-Break-Off: yes")
			if code == 0 {
				t.Fatal("curl took half of it for the whole")
			}
			code, rest := take("-C", "-")
			if code != 0 || first.GetId() == "" || first.GetId() != rest.GetId() || !first.GetPartial() || rest.GetPartial() {
				t.Errorf("exit code %d; first %v, and then %v", code, first, rest)
			}
			sum := sha256.Sum256([]byte(readFile(t, file)))
			if want := sumOf(0, 4<<20); hex.EncodeToString(sum[:]) != want {
				t.Errorf("the file's digest is %x, want %s", sum, want)
			}
			if rest.GetFirst() != uint64(4<<20)-rest.GetLength() || rest.GetContentSha256() != sumOf(int64(rest.GetFirst()), 4<<20) {
				t.Errorf("the rest: %v", rest)
			}
		})
	}
}
