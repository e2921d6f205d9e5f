package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// identify is the id of an exchange that has one.
func identify(t *testing.T, p Parties, req *l7.RequestHead, ans *l7.ResponseHead) ID {
	t.Helper()
	got, ok := Of(p, req, ans)
	if !ok || got.ID == (ID{}) {
		t.Fatalf("%s %s: %q, want an id", req.Method, req.Path, got.Anonymous)
	}
	return got.ID
}

// However an object is split, its pieces have one id, in any order, with or
// without a size, by tag and by date.
func TestAnySplitIsOneTransfer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		size := 1 + rng.Int64N(100<<30)
		version := [][]string{
			{"etag", fmt.Sprintf("%q", fmt.Sprint(rng.Uint64()))},
			{"last-modified", modified, "date", later},
		}[rng.IntN(2)]
		want := identify(t, parties, request("GET", "/b/k"), answer(200, append(version, "content-length", fmt.Sprint(size))...))
		for first := int64(0); first < size; {
			last := min(first+rng.Int64N(size), size-1)
			told := fmt.Sprint(size)
			if version[0] == "etag" && rng.IntN(2) == 0 {
				told = "*"
			}
			ans := answer(206, append(version, "content-range", fmt.Sprintf("bytes %d-%d/%s", first, last, told))...)
			if got := identify(t, parties, request("GET", "/b/k?X-Amz-Signature="+fmt.Sprint(rng.Uint64())), ans); got != want {
				t.Fatalf("bytes %d-%d of %d: id %s, want %s", first, last, size, got, want)
			}
			first = last + 1
		}
	}
}

// All pieces of an upload in several requests have one id, and so has its end.
func TestPiecesOfAnUploadAreOneTransfer(t *testing.T) {
	registry := parties
	registry.Protocol = "oci"
	const session = "/v2/org/m/blobs/uploads/u-1"
	for name, c := range map[string]struct {
		parties  Parties
		requests []*l7.RequestHead
	}{
		"S3": {parties, []*l7.RequestHead{
			request("PUT", "/b/k?partNumber=1&uploadId=U", "content-length", "5"),
			request("PUT", "/b/k?uploadId=U&partNumber=2", "content-length", "5", "content-encoding", "aws-chunked"),
			request("POST", "/b/k?uploadId=U&X-Amz-Signature=S"),
		}},
		"OCI": {registry, []*l7.RequestHead{
			request("PATCH", session, "content-range", "0-4"),
			request("PATCH", session+"?_state=abc", "content-range", "5-9"),
			request("PUT", session+"?_state=def&digest=sha256:"+sum),
		}},
		"resumable": {parties, []*l7.RequestHead{
			request("PUT", "/b/k?upload_id=U", "content-range", "bytes 0-4/*"),
			request("PUT", "/b/k?upload_id=U", "content-range", "bytes */10"),
			request("PUT", "/b/k?upload_id=U", "content-range", "bytes 5-9/10"),
		}},
	} {
		want := identify(t, c.parties, c.requests[0], nil)
		for _, req := range c.requests {
			if got := identify(t, c.parties, req, nil); got != want {
				t.Errorf("%s: %s %s: id %s, want %s", name, req.Method, req.Path, got, want)
			}
		}
	}
}

// Everything that makes another transfer makes another id.
func TestOthersAreOtherTransfers(t *testing.T) {
	dated := func(size, modified, date string) *l7.ResponseHead {
		return answer(200, "last-modified", modified, "date", date, "content-length", size)
	}
	with := func(change func(*Parties)) Parties {
		p := parties
		change(&p)
		return p
	}
	tagged := answer(200, "etag", tag, "content-length", "9")
	get := request("GET", "/b/k")
	seen := map[ID]string{}
	for name, c := range map[string]struct {
		p   Parties
		req *l7.RequestHead
		ans *l7.ResponseHead
	}{
		"this":              {parties, get, tagged},
		"another tag":       {parties, get, answer(200, "etag", `"abd"`, "content-length", "9")},
		"another path":      {parties, request("GET", "/b/l"), tagged},
		"another version":   {parties, request("GET", "/b/k?versionId=1"), tagged},
		"another selector":  {parties, request("GET", "/b/k?versionid=1"), tagged},
		"another caller":    {with(func(p *Parties) { p.Caller += "2" }), get, tagged},
		"another callee":    {with(func(p *Parties) { p.Destination += "2" }), get, tagged},
		"another service":   {with(func(p *Parties) { p.Service += "2" }), get, tagged},
		"texts moved":       {with(func(p *Parties) { p.Service, p.Destination = "s"+p.Service, "" }), get, tagged},
		"the other way":     {parties, request("PUT", "/b/k", "content-length", "9"), tagged},
		"a date":            {parties, get, dated("9", modified, later)},
		"a date, and size":  {parties, get, dated("8", modified, later)},
		"another date":      {parties, get, dated("9", later, "Tue, 15 Nov 1994 12:45:28 GMT")},
		"a tag like a date": {parties, get, answer(200, "etag", `"784903526"`, "content-length", "9")},
		"an upload":         {parties, request("PUT", "/b/k?uploadId=U", "content-length", "9"), nil},
		"another upload":    {parties, request("PUT", "/b/k?uploadId=V", "content-length", "9"), nil},
		"tag as an upload":  {parties, request("PUT", `/b/k?uploadId="abc"`, "content-length", "9"), nil},
	} {
		id := identify(t, c.p, c.req, c.ans)
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s are both %s", name, other, id)
		}
		seen[id] = name
	}
}

// A blob that its digest names is one transfer, whichever tags its replicas have.
func TestDigestNamesTheVersion(t *testing.T) {
	p := parties
	p.Protocol = "oci"
	get := request("GET", "/v2/org/m/blobs/sha256:"+sum)
	a := identify(t, p, get, answer(200, "etag", `"a"`, "content-length", "9"))
	b := identify(t, p, get, answer(206, "etag", `"b"`, "content-range", "bytes 5-8/9"))
	if a != b {
		t.Errorf("ids %s and %s, want one", a, b)
	}
}

func TestIDText(t *testing.T) {
	if got := (ID{}).String(); got != "" {
		t.Errorf("no id is %q", got)
	}
	got := identify(t, parties, request("GET", "/b/k"), answer(200, "etag", tag)).String()
	if want := "a0f65dfebf23ae035bd765f2642013cc"; got != want {
		t.Errorf("id %q, want %q: both gateways must make the same, whatever their versions", got, want)
	}
}

// gateway is one of the two that an exchange passes: it sees heads alone.
type gateway struct {
	mu   sync.Mutex
	seen []Transfer
}

func (g *gateway) pass(req *l7.RequestHead, ans *l7.ResponseHead) {
	if t, ok := Of(parties, req, ans); ok {
		g.mu.Lock()
		g.seen = append(g.seen, t)
		g.mu.Unlock()
	}
}

// mesh is a RoundTripper that has a gateway at each end of a tunnel: the second
// knows only what the frames of the first have told it, and the first only what came back.
type mesh struct {
	egress, ingress gateway
	base            http.RoundTripper
}

func (m *mesh) RoundTrip(r *http.Request) (*http.Response, error) {
	req := &l7.RequestHead{Method: r.Method, Authority: r.URL.Host, Path: r.URL.RequestURI(), Fields: fieldsOf(r.Header)}
	l7.StripIncoming(&req.Fields)
	resp, err := m.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	ans := &l7.ResponseHead{Status: resp.StatusCode, Fields: fieldsOf(resp.Header)}
	var frames bytes.Buffer
	w := l7.NewFrameWriter(&frames)
	if err := w.RequestHead(req, true); err != nil {
		return nil, err
	}
	arrived, err := l7.NewFrameReader(&frames).Next()
	if err != nil {
		return nil, err
	}
	m.ingress.pass(arrived.Request, ans)
	frames.Reset()
	if err := l7.NewFrameWriter(&frames).ResponseHead(ans, false); err != nil {
		return nil, err
	}
	back, err := l7.NewFrameReader(&frames).Next()
	if err != nil {
		return nil, err
	}
	m.egress.pass(req, back.Response)
	return resp, nil
}

func fieldsOf(h http.Header) (f l7.Fields) {
	for name, values := range h {
		for _, v := range values {
			f = append(f, l7.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	return f
}

// store is an object as net/http serves it.
type store struct {
	mu       sync.Mutex
	content  []byte
	modified time.Time
	tagged   bool
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	content, modified := s.content, s.modified
	s.mu.Unlock()
	if s.tagged {
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(content)))
	}
	http.ServeContent(w, r, "weights.bin", modified, bytes.NewReader(content))
}

// A download that is broken off and resumed is one transfer at both gateways;
// a resume that finds another version is another one.
func TestResume(t *testing.T) {
	for _, tagged := range []bool{true, false} {
		t.Run(fmt.Sprintf("tagged=%v", tagged), func(t *testing.T) { resume(t, tagged) })
	}
}

func resume(t *testing.T, tagged bool) {
	s := &store{content: bytes.Repeat([]byte("0123456789abcdef"), 1<<18), modified: time.Now().Add(-time.Hour), tagged: tagged}
	server := httptest.NewServer(s)
	defer server.Close()
	m := &mesh{base: server.Client().Transport}
	get := func(nv ...string) *http.Response {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/weights.bin", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(nv); i += 2 {
			r.Header.Set(nv[i], nv[i+1])
		}
		resp, err := (&http.Client{Transport: m}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}

	first := get()
	validator := first.Header.Get("ETag")
	if validator == "" {
		validator = first.Header.Get("Last-Modified")
	}
	begun := make([]byte, 100_000)
	if _, err := io.ReadFull(first.Body, begun); err != nil {
		t.Fatal(err)
	}
	first.Body.Close() // it breaks off
	again := get("Range", fmt.Sprintf("bytes=%d-", len(begun)), "If-Range", validator)
	rest, err := io.ReadAll(again.Body)
	if err != nil || again.StatusCode != http.StatusPartialContent || !bytes.Equal(append(begun, rest...), s.content) {
		t.Fatalf("resumed with %d and %d bytes: %v", again.StatusCode, len(rest), err)
	}
	several := get("Range", "bytes=0-9,20-29", "If-Range", validator)
	several.Body.Close()

	s.mu.Lock()
	s.content, s.modified = append([]byte("changed"), s.content[7:]...), s.modified.Add(time.Minute)
	s.mu.Unlock()
	changed := get("Range", fmt.Sprintf("bytes=%d-", len(begun)), "If-Range", validator)
	changed.Body.Close()

	for i, e := range m.egress.seen {
		in := m.ingress.seen[i]
		if e.ID != in.ID || e.Extent != in.Extent {
			t.Errorf("exchange %d: the gateways have %s and %s", i, e.ID, in.ID)
		}
	}
	seen := m.egress.seen
	if len(seen) != 4 {
		t.Fatalf("%d transfers, want 4", len(seen))
	}
	if seen[0].ID == (ID{}) || seen[1].ID != seen[0].ID {
		t.Errorf("resumed %s (%s) as %s (%s)", seen[0].ID, seen[0].Anonymous, seen[1].ID, seen[1].Anonymous)
	}
	if seen[1].Extent != Range || seen[1].First != int64(len(begun)) || seen[1].Size != int64(len(s.content)) {
		t.Errorf("resumed at %d of %d, want %d of %d", seen[1].First, seen[1].Size, len(begun), len(s.content))
	}
	if tagged && seen[2].ID != seen[0].ID || !tagged && seen[2].Anonymous != NoSize || seen[2].Extent != Ranges {
		t.Errorf("several ranges are %s (%s), want %s", seen[2].ID, seen[2].Anonymous, seen[0].ID)
	}
	if seen[3].ID == (ID{}) || seen[3].ID == seen[0].ID || seen[3].Extent != Whole {
		t.Errorf("another version has id %s (%s); the first had %s", seen[3].ID, seen[3].Anonymous, seen[0].ID)
	}
}
