package exchange

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sallyport-mesh/sallyport/gateway/internal/admission"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Contents of a registry: an image's manifest, and what it names.
var (
	layer  = strings.Repeat("layer ", 1<<15)
	config = `{"architecture":"amd64"}`
	image  = fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":"sha256:%s"},"layers":[{"digest":"sha256:%s"}]}`, hexOf(config), hexOf(layer))
	index  = fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":"sha256:%s"}]}`, hexOf(image))
)

// depot is what keeps contents behind two gateways that remember manifests. All may be
// asked of it, for contents of listed digests alone.
type depot struct {
	protocol  string
	listed    []string // contents
	near, far *admission.Memory
	free      bool                      // any digest will do
	cut       func(io.Reader) io.Reader // of what either end sends; nil for no matter
	taken     string                    // content that came whole, of the last request
	passed    string                    // and what of it came at all
}

func newDepot(protocol string, listed ...string) *depot {
	return &depot{protocol: protocol, listed: listed, near: admission.NewMemory(), far: admission.NewMemory()}
}

func (d *depot) policy(t testing.TB) *policy.Policy {
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = d.protocol + "://:8000"
		p.Intents = p.Intents[:1]
		p.Intents[0].Allow.Methods, p.Intents[0].Allow.Paths = nil, nil
		if d.free {
			return
		}
		p.Lists = map[string]*policyv1.List{"released": {}}
		for _, content := range d.listed {
			p.Lists["released"].Digests = append(p.Lists["released"].Digests, "sha256:"+hexOf(content))
		}
		p.Intents[0].Require = &policyv1.Require{Digest: &policyv1.DigestRule{In: "released"}}
	})
}

// ask makes one exchange.
func (d *depot) ask(t *testing.T, req *listener.Request, a *upstream.Response) (*reply, *world) {
	t.Helper()
	return d.askWith(t, req, a, func(*world) {})
}

// askWith makes one, in a world that is changed before.
func (d *depot) askWith(t *testing.T, req *listener.Request, a *upstream.Response, change func(*world)) (*reply, *world) {
	t.Helper()
	w := newWorld(t, d.policy(t))
	change(w)
	w.egress.cfg.Manifests, w.ingress.cfg.Manifests = d.near, d.far
	d.taken, d.passed = "", ""
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		if r.Body != nil {
			got, err := io.ReadAll(r.Body)
			if d.passed = string(got); err != nil {
				return nil, err
			}
			d.taken = d.passed
		}
		return a, nil
	}
	if d.cut != nil {
		a.Body = said{d.cut(a.Body), nil, false}
		req.Body = io.NopCloser(d.cut(req.Body))
	}
	return w.ask(t, req), w
}

// refusedFor is why the first gateway that refused did so, and which it was; "" if none did.
func refusedFor(t *testing.T, w *world) (side, detail string) {
	t.Helper()
	w.far.mu.Lock()
	arrived := len(w.far.opened) > 0
	w.far.mu.Unlock()
	for _, s := range []*fakeSpool{w.far, w.near} {
		if s == w.far && !arrived {
			continue
		}
		a := s.account(t)
		if a.Open.GetEnd().GetReason() == crossingv1.Reason_DIGEST_NOT_ALLOWED {
			return s.name + " at once", a.Open.GetEnd().GetDetail()
		}
		if a.Close.GetCause() == crossingv1.Cause_REFUSED && a.Close.GetReason() == crossingv1.Reason_DIGEST_NOT_ALLOWED {
			return s.name, a.Close.GetDetail()
		}
	}
	return "", ""
}

// gotWhole says that the caller takes what it has for a whole answer.
func gotWhole(r *reply) bool { return r.ended && !r.aborted }

func get(path string, fields ...l7.Field) *listener.Request {
	return request("GET", path, "", fields...)
}

func blob(content string) string { return "/v2/m/blobs/sha256:" + hexOf(content) }

func manifestOf(content string) string { return "/v2/m/manifests/sha256:" + hexOf(content) }

// TestPull: what a listed manifest names may be got once the manifest was, and nothing
// else; each gateway holds to that by itself.
func TestPull(t *testing.T) {
	d := newDepot("oci", index)
	pull := func(path, content, refusedAt string) {
		t.Helper()
		r, w := d.ask(t, get(path), saying(200, content))
		side, detail := refusedFor(t, w)
		if side != refusedAt || refusedAt != "" && !strings.Contains(detail, "pull its manifest first") {
			t.Errorf("%s: refused at %q (%s), want %q", path, side, detail, refusedAt)
		}
		if whole := refusedAt == ""; (gotWhole(r) && r.head.Status == 200) != whole || whole && r.body.String() != content {
			t.Errorf("%s: status %d, %d bytes", path, r.head.Status, r.body.Len())
		}
		if refusedAt != "" && (r.head.Status != 403 || !strings.Contains(r.body.String(), "manifest")) {
			t.Errorf("%s: the caller is told %d %s", path, r.head.Status, r.body.String())
		}
		if refusedAt == "near at once" {
			w.journal.never(t, "far open")
		}
		w.journal.never(t, map[string]string{"near at once": "destination asked", "far at once": "destination asked"}[refusedAt])
	}
	pull(blob(layer), layer, "near at once")
	pull(manifestOf(image), image, "near at once")
	pull("/v2/m/manifests/latest", index, "")
	pull(blob(layer), layer, "near at once")
	pull(manifestOf(image), image, "")
	pull(blob(layer), layer, "")
	pull(blob(config), config, "")
	pull(blob("other"), "other", "near at once")

	d.far = admission.NewMemory() // it started again
	pull(blob(layer), layer, "far at once")
	pull("/v2/m/manifests/latest", index, "")
	pull(manifestOf(image), image, "")
	pull(blob(layer), layer, "")

	d.listed = []string{"something else"} // another policy
	pull(blob(layer), layer, "near at once")
}

// TestAnswersOfDigests: what an answer carries, and where it is stopped.
func TestAnswersOfDigests(t *testing.T) {
	small, large := "small", strings.Repeat("large", 1<<15)
	declares := func(content string) string { return "sha256:" + hexOf(content) }
	sum := func(content string) string {
		raw, _ := hex.DecodeString(hexOf(content))
		return base64.StdEncoding.EncodeToString(raw)
	}
	for name, c := range map[string]struct {
		protocol string
		req      *listener.Request
		answer   *upstream.Response
		at       string // who refuses; "" for nobody
		detail   string
		some     bool // the caller has got some of it by then
	}{
		"an object":                        {"s3", get("/b/k"), saying(200, small), "", "", false},
		"a large object":                   {"http", get("/b/k"), saying(200, large), "", "", false},
		"another":                          {"s3", get("/b/k"), saying(200, "other"), "far", "sha256:" + hexOf("other"), false},
		"another, large":                   {"s3", get("/b/k"), saying(200, large+"!"), "far", "sha256:" + hexOf(large+"!"), true},
		"truncated":                        {"s3", get("/b/k"), saying(200, large[:len(large)-1]), "far", "", true},
		"another, declared":                {"s3", get("/b/k"), saying(200, large+"!", "x-amz-checksum-sha256", sum(large+"!")), "far", "x-amz-checksum-sha256", false},
		"another, declared as listed":      {"s3", get("/b/k"), saying(200, "other", "content-digest", digestOf(small)), "far", hexOf("other"), false},
		"a tag":                            {"oci", get("/v2/m/manifests/v1"), saying(200, small, "docker-content-digest", declares(small)), "", "", false},
		"a tag of another":                 {"oci", get("/v2/m/manifests/v1"), saying(200, "other", "docker-content-digest", declares("other")), "far", "docker-content-digest", false},
		"another under its name":           {"oci", get(blob(large)), saying(200, large[:len(large)-1]+"!"), "far", "under the name", true},
		"a listed one under another name":  {"oci", get(blob(large)), saying(200, small), "far", "under the name", false},
		"a name that not all read":         {"oci", get("/v2/m/blobs/sha256%3A" + hexOf("other")), saying(200, "other"), "far", hexOf("other"), false},
		"a range":                          {"s3", get("/b/k"), saying(206, small[:2], "content-range", "bytes 0-1/5"), "far", "part of an object", false},
		"a range of a name":                {"oci", get(blob(small)), saying(206, small[:2], "content-range", "bytes 0-1/5"), "far", "part of an object", false},
		"a range that is all":              {"s3", get("/b/k"), saying(206, small, "content-range", "bytes 0-4/5"), "", "", false},
		"a content coding":                 {"s3", get("/b/k"), saying(200, "zipped", "content-encoding", "gzip"), "far", "content coding", false},
		"nothing":                          {"s3", get("/b/k"), saying(200, ""), "", "", false},
		"a redirect":                       {"oci", get(blob(small)), saying(307, "over there", "location", "https://elsewhere.test/"), "", "", false},
		"an error":                         {"oci", get(blob(small)), saying(404, `{"errors":[]}`), "", "", false},
		"an endless error":                 {"oci", get(blob(small)), saying(404, large), "far", "no object", false},
		"a ping":                           {"oci", get("/v2/"), saying(200, "{}"), "", "", false},
		"a ping with more":                 {"oci", get("/v2/"), saying(200, strings.Repeat("x", 17)), "far", "no object", false},
		"a list of tags":                   {"oci", get("/v2/m/tags/list"), saying(200, `{"tags":[]}`), "far", "not allowed", false},
		"a ping of what is no registry":    {"http", get("/v2/"), saying(200, "{}"), "far", "not allowed", false},
		"what is said of an upload":        {"http", request("PUT", "/b/k", small), saying(201, "thank you"), "far", "not allowed", false},
		"a call of what is listed":         {"http", request("POST", "/q", small), saying(200, large), "", "", false},
		"a referrers list of a known name": {"oci", get("/v2/m/referrers/sha256:" + hexOf(small)), saying(200, small), "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDepot(c.protocol, small, large)
			r, w := d.ask(t, c.req, c.answer)
			side, detail := refusedFor(t, w)
			if side != c.at || !strings.Contains(detail, c.detail) {
				t.Errorf("refused at %q (%s), want %q (%s)", side, detail, c.at, c.detail)
			}
			if c.at == "" {
				if !gotWhole(r) || r.head.Status != c.answer.Head.Status {
					t.Errorf("answer %+v", r)
				}
				return
			}
			if gotWhole(r) && r.head.Status != 403 {
				t.Errorf("the caller has all of it: %d, %d bytes", r.head.Status, r.body.Len())
			}
			if r.head.Status != 403 && (r.body.Len() > 0) != c.some {
				t.Errorf("%d bytes came", r.body.Len())
			}
		})
	}
}

// TestUploadsOfDigests: what is sent is whole at its destination only if it is listed.
func TestUploadsOfDigests(t *testing.T) {
	small, large := "small", strings.Repeat("large", 1<<15)
	field := func(name, value string) l7.Field { return l7.Field{Name: name, Value: value} }
	for name, c := range map[string]struct {
		protocol string
		req      *listener.Request
		at       string
		detail   string
	}{
		"an object":                {"s3", request("PUT", "/b/k", small), "", ""},
		"a large object":           {"s3", request("PUT", "/b/k", large), "", ""},
		"another":                  {"s3", request("PUT", "/b/k", "other"), "near", hexOf("other")},
		"another, large":           {"s3", request("PUT", "/b/k", large+"!"), "near", hexOf(large + "!")},
		"truncated":                {"http", request("PUT", "/b/k", large[:len(large)-1]), "near", "not allowed"},
		"another, declared":        {"s3", request("PUT", "/b/k", large+"!", field("x-amz-content-sha256", hexOf(large+"!"))), "near at once", "x-amz-content-sha256"},
		"a part":                   {"s3", request("PUT", "/b/k?partNumber=1&uploadId=U", small), "near at once", "part of an object"},
		"a later chunk":            {"oci", request("PATCH", "/v2/m/blobs/uploads/U", small, field("content-range", "5-9"), field("content-length", "5")), "near at once", "part of an object"},
		"a blob as one chunk":      {"oci", request("PATCH", "/v2/m/blobs/uploads/U", small), "", ""},
		"another as one chunk":     {"oci", request("PATCH", "/v2/m/blobs/uploads/U", "other"), "near", hexOf("other")},
		"the end of an upload":     {"oci", request("PUT", "/v2/m/blobs/uploads/U?digest=sha256:"+hexOf(small), ""), "", ""},
		"the end of another":       {"oci", request("PUT", "/v2/m/blobs/uploads/U?digest=sha256%3A"+hexOf("other"), ""), "near at once", hexOf("other")},
		"a blob, mounted":          {"oci", request("POST", "/v2/m/blobs/uploads/?from=n&mount=sha256:"+hexOf(small), ""), "", ""},
		"another, mounted":         {"oci", request("POST", "/v2/m/blobs/uploads/?from=n&mount=sha256%3a"+hexOf("other"), ""), "near at once", "mount"},
		"a copy":                   {"s3", request("PUT", "/b/k", "", field("x-amz-copy-source", "/b/l")), "near at once", "copy"},
		"signed in pieces":         {"s3", request("PUT", "/b/k", "5;...", field("content-encoding", "aws-chunked")), "near at once", "aws-chunked"},
		"nothing":                  {"s3", request("DELETE", "/b/k", ""), "", ""},
		"a call":                   {"http", request("POST", "/q", "what is it?"), "near", "not allowed"},
		"a query no one can read":  {"oci", get("/v2/m/manifests/v1?a;b"), "near at once", "query"},
		"content behind a removal": {"http", request("DELETE", "/b/k", "other"), "near", "not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDepot(c.protocol, small, large)
			a := answer(201, "")
			a.Ended = true
			content := ""
			if c.req.Body != nil {
				text, _ := io.ReadAll(c.req.Body)
				if content = string(text); content != "" {
					c.req.Body = io.NopCloser(strings.NewReader(content))
				}
			}
			r, w := d.ask(t, c.req, a)
			side, detail := refusedFor(t, w)
			if side != c.at || !strings.Contains(detail, c.detail) {
				t.Errorf("refused at %q (%s), want %q (%s)", side, detail, c.at, c.detail)
			}
			switch {
			case c.at == "" && (r.head.Status != 201 || d.taken != content):
				t.Errorf("status %d; the destination took %d bytes", r.head.Status, len(d.taken))
			case c.at != "" && (r.head.Status != 403 || d.taken != "" || content != "" && len(d.passed) >= len(content)):
				t.Errorf("status %d; the destination has %d bytes, %d of them for whole", r.head.Status, len(d.passed), len(d.taken))
			case c.at != "" && !strings.Contains(r.body.String(), c.detail):
				t.Errorf("the caller is told %s", r.body.String())
			}
			if c.at == "near at once" {
				w.journal.never(t, "far open")
			}
		})
	}
}

// TestDigestsHoweverCut: the same is decided however the bytes come, and wherever they
// end.
func TestDigestsHoweverCut(t *testing.T) {
	content := "0123456789"
	for _, cut := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
		for n := range len(content) + 2 {
			sent := (content + "!")[:n]
			good := n == 0 || n == len(content)
			d := newDepot("http", content)
			d.cut = cut
			if r, w := d.ask(t, get("/k"), saying(200, sent)); gotWhole(r) != good || !good && r.body.Len() > 0 {
				side, detail := refusedFor(t, w)
				t.Errorf("%d bytes came down: whole %v, refused at %q (%s)", n, gotWhole(r), side, detail)
			}
			if d.ask(t, request("PUT", "/k", sent), saying(204, "")); (d.taken == sent) != good || !good && d.passed != "" {
				t.Errorf("%d bytes went up: %q for whole, of %q", n, d.taken, d.passed)
			}
		}
	}
}

// TestDigestOfTheOtherGateway: where one gateway does not hold to the digests, the other
// does.
func TestDigestOfTheOtherGateway(t *testing.T) {
	d := newDepot("http", "listed")
	strict := d.policy(t)
	d.free = true
	free := d.policy(t)
	for name, at := range map[string]struct{ near, far *policy.Policy }{"far": {free, strict}, "near": {strict, free}} {
		for _, content := range []string{"other", strings.Repeat("other", 1<<15)} {
			both := func(w *world) { w.policies.Current, w.there = at.near, at.far }
			r, w := d.askWith(t, get("/k"), saying(200, content), both)
			if side, _ := refusedFor(t, w); side != name || gotWhole(r) || r.body.Len() >= len(content) {
				t.Errorf("%s: refused at %q, whole %v", name, side, gotWhole(r))
			}
			r, w = d.askWith(t, request("PUT", "/k", content), saying(200, ""), both)
			if side, _ := refusedFor(t, w); side != name || r.head.Status != 403 || d.taken != "" || len(d.passed) >= len(content) {
				t.Errorf("%s: refused at %q, status %d, the destination has %d bytes", name, side, r.head.Status, len(d.passed))
			}
			if w.joined(t).GetIngress().GetDecision() != crossingv1.Decision_ALLOW {
				t.Errorf("%s: it was denied at once", name)
			}
		}
	}
}

// TestDigestOfBytes: of a byte stream nobody sees the content.
func TestDigestOfBytes(t *testing.T) {
	d := newDepot("tcp", "listed")
	r, w := d.ask(t, request("CONNECT", "", ""), answer(200, ""))
	end := w.near.account(t).Open.GetEnd()
	if r.head.Status != 403 || end.GetReason() != crossingv1.Reason_NOT_ENFORCEABLE || !strings.Contains(end.GetDetail(), "byte stream") {
		t.Errorf("status %d, end %v", r.head.Status, end)
	}
}

// TestIdentityIsAsked: a coding would give content another digest.
func TestIdentityIsAsked(t *testing.T) {
	d := newDepot("http", "listed")
	w := newWorld(t, d.policy(t))
	asked := ""
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		asked = r.Head.Fields.Get("accept-encoding")
		return saying(200, "listed"), nil
	}
	if w.ask(t, get("/k", l7.Field{Name: "accept-encoding", Value: "gzip"})); asked != "identity" {
		t.Errorf("asked for %q", asked)
	}
}

// TestDigestsOfEachMessage: of several messages in one content each has its intent, and
// what these require holds together.
func TestDigestsOfEachMessage(t *testing.T) {
	batch := "[" + call("search") + "," + call("fetch") + "]"
	for name, c := range map[string]struct{ search, fetch, want string }{
		"both have it":      {batch, batch, ""},
		"the first has it":  {batch, "other", "near"},
		"the second has it": {"other", batch, "near"},
	} {
		t.Run(name, func(t *testing.T) {
			w := reading(t, policytest.Estate(t, 1, func(p *policyv1.Policy) {
				p.Workloads["llm"].Serves["chat"] = "mcp://:8000"
				both := p.Intents[0]
				p.Intents, p.Lists = nil, map[string]*policyv1.List{}
				for tool, content := range map[string]string{"search": c.search, "fetch": c.fetch} {
					p.Lists[tool] = &policyv1.List{Digests: []string{"sha256:" + hexOf(content)}}
					p.Intents = append(p.Intents, &policyv1.Intent{
						Name: tool, Allow: both.Allow, When: "written as a condition", Condition: is("ai.tool", tool),
						Require: &policyv1.Require{Digest: &policyv1.DigestRule{In: tool}},
					})
				}
			}))
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				_, err := readAll(r)
				return answer(202, ""), err
			}
			r := w.ask(t, rpc(batch))
			if side, detail := refusedFor(t, w); side != c.want || (c.want == "") != (r.head.Status == 202) {
				t.Errorf("status %d, refused at %q (%s), want %q", r.head.Status, side, detail, c.want)
			}
		})
	}
}
