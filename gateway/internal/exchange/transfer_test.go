package exchange

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// weights is the content of an object.
var weights = strings.Repeat("weights ", 1<<14)

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// newStore is a world whose destination keeps objects: all is allowed there.
func newStore(t *testing.T, answers func(req *l7.RequestHead) *upstream.Response) *world {
	t.Helper()
	w := newWorld(t, policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = "s3://:8000"
		p.Intents = p.Intents[:1]
		p.Intents[0].Allow.Methods, p.Intents[0].Allow.Paths = nil, nil
	}))
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		if r.Body != nil {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return nil, err
			}
		}
		return answers(r.Head), nil
	}
	return w
}

// saying is an answer with fields, of names and values in turn.
func saying(status int, body string, nv ...string) *upstream.Response {
	a := answer(status, body)
	for i := 0; i < len(nv); i += 2 {
		a.Head.Fields = append(a.Head.Fields, l7.Field{Name: nv[i], Value: nv[i+1]})
	}
	return a
}

// transferred is what both ends say of an exchange that came to its end.
func (w *world) transferred(t *testing.T) *crossingv1.Transfer {
	t.Helper()
	rec := w.joined(t)
	if !rec.GetAgree() {
		t.Errorf("the ends differ in %v", rec.GetDifferences())
	}
	e, i := rec.GetEgress().GetTransfer(), rec.GetIngress().GetTransfer()
	if d := cmp.Diff(e, i, protocmp.Transform()); d != "" {
		t.Errorf("transfers (-egress +ingress):\n%s", d)
	}
	return e
}

// TestDownloads: both gateways say which object, which bytes of it, and what passed.
func TestDownloads(t *testing.T) {
	etag, half := `"v1"`, weights[len(weights)/2:]
	for name, c := range map[string]struct {
		answer *upstream.Response
		want   *crossingv1.Transfer // but for the id
	}{
		"all of it": {
			saying(200, weights, "content-length", "131072", "etag", etag),
			&crossingv1.Transfer{
				Direction: crossingv1.Transfer_DOWNLOAD, Object: "/b/k", Extent: crossingv1.Transfer_WHOLE, Length: 131072, Size: 131072,
				ContentSha256: hexOf(weights), Digested: 131072,
			},
		},
		"the second half": {
			saying(206, half, "content-length", "65536", "content-range", "bytes 65536-131071/131072", "etag", etag),
			&crossingv1.Transfer{
				Direction: crossingv1.Transfer_DOWNLOAD, Object: "/b/k", Extent: crossingv1.Transfer_RANGE, First: 65536, Length: 65536, Size: 131072,
				ContentSha256: hexOf(half), Digested: 65536,
			},
		},
		"another than is declared": {
			saying(200, weights, "content-length", "131072", "etag", etag, "content-digest", digestOf("weights")),
			&crossingv1.Transfer{
				Direction: crossingv1.Transfer_DOWNLOAD, Object: "/b/k", Extent: crossingv1.Transfer_WHOLE, Length: 131072, Size: 131072,
				ContentSha256: hexOf(weights), Digested: 131072,
				Declared: crossingv1.Transfer_MISMATCH, DeclaredBy: "content-digest", DeclaredSha256: hexOf("weights"),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStore(t, func(*l7.RequestHead) *upstream.Response { return c.answer })
			r := w.ask(t, request("GET", "/b/k", ""))
			if hexOf(r.body.String()) != c.want.GetContentSha256() {
				t.Error("the caller has other content")
			}
			got := w.transferred(t)
			if len(got.GetId()) != 32 {
				t.Errorf("id %q", got.GetId())
			}
			if d := cmp.Diff(c.want, got, protocmp.Transform(), protocmp.IgnoreFields(&crossingv1.Transfer{}, "id")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestDownloadResumed: what broke off and the rest of it have the same id, though the
// first of them ended early.
func TestDownloadResumed(t *testing.T) {
	ask := func(a *upstream.Response, r *reply) *crossingv1.Record {
		w := newStore(t, func(*l7.RequestHead) *upstream.Response { return a })
		r.journal = w.journal
		w.askInto(t, request("GET", "/b/k", ""), r)
		rec := w.joined(t)
		if !rec.GetAgree() {
			t.Errorf("the ends differ in %v", rec.GetDifferences())
		}
		return rec
	}
	first := ask(saying(200, weights, "content-length", "131072", "etag", `"v1"`), &reply{goneAfterHead: true}).GetEgress().GetTransfer()
	rest := ask(saying(206, weights[65536:], "content-range", "bytes 65536-131071/131072", "etag", `"v1"`), &reply{}).GetEgress().GetTransfer()
	other := ask(saying(200, weights, "content-length", "131072", "etag", `"v2"`), &reply{}).GetEgress().GetTransfer()
	if first.GetId() == "" || first.GetId() != rest.GetId() || first.GetId() == other.GetId() {
		t.Errorf("ids %q, %q and of another version %q", first.GetId(), rest.GetId(), other.GetId())
	}
	if !first.GetPartial() || first.GetDigested() != 0 || rest.GetPartial() || rest.GetFirst() != 65536 {
		t.Errorf("first %v, and then %v", first, rest)
	}
}

// TestUploads: parts of one upload, and what completes it, have one id.
func TestUploads(t *testing.T) {
	upload := func(method, target, body string, fields ...l7.Field) *crossingv1.Transfer {
		w := newStore(t, func(*l7.RequestHead) *upstream.Response { return saying(200, "", "etag", `"p"`) })
		w.ask(t, request(method, target, body, fields...))
		return w.transferred(t)
	}
	signed := l7.Field{Name: "x-amz-content-sha256", Value: hexOf(weights)}
	one := upload("PUT", "/b/k?partNumber=1&uploadId=U", weights, signed)
	two := upload("PUT", "/b/k?partNumber=2&uploadId=U", "the end", l7.Field{Name: "x-amz-content-sha256", Value: "UNSIGNED-PAYLOAD"})
	all := upload("POST", "/b/k?uploadId=U", "<CompleteMultipartUpload/>")
	if one.GetId() == "" || one.GetId() != two.GetId() || one.GetId() != all.GetId() {
		t.Errorf("ids %q, %q and %q", one.GetId(), two.GetId(), all.GetId())
	}
	want := &crossingv1.Transfer{
		Id: one.GetId(), Direction: crossingv1.Transfer_UPLOAD, Object: "/b/k", Extent: crossingv1.Transfer_PART, Part: 1,
		ContentSha256: hexOf(weights), Digested: 131072, Declared: crossingv1.Transfer_MATCH, DeclaredBy: "x-amz-content-sha256",
	}
	if d := cmp.Diff(want, one, protocmp.Transform()); d != "" {
		t.Errorf("part 1 (-want +got):\n%s", d)
	}
	if two.GetPart() != 2 || two.GetContentSha256() != hexOf("the end") || all.GetExtent() != crossingv1.Transfer_NONE {
		t.Errorf("part 2 %v, and then %v", two, all)
	}
}

// TestFormats: both gateways say what an object is by its first bytes, in either
// direction, and nothing of bytes that are not its first.
func TestFormats(t *testing.T) {
	pickle := "\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94."
	tensors := "\x02\x00\x00\x00\x00\x00\x00\x00{}"
	for name, c := range map[string]struct {
		method, target, content, ranged string
		format                          string
		pickle                          bool
	}{
		"an upload":              {"PUT", "/b/k", pickle, "", "pickle", true},
		"its first part":         {"PUT", "/b/k?partNumber=1&uploadId=U", pickle, "", "pickle", true},
		"another part":           {"PUT", "/b/k?partNumber=2&uploadId=U", pickle, "", "", false},
		"a download":             {"GET", "/b/k", tensors, "", "safetensors", false},
		"a range from the start": {"GET", "/b/k", tensors, "bytes 0-9/99", "safetensors", false},
		"a range from later":     {"GET", "/b/k", tensors, "bytes 9-18/99", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStore(t, func(*l7.RequestHead) *upstream.Response {
				switch {
				case c.method == "PUT":
					return saying(200, "", "etag", `"p"`)
				case c.ranged != "":
					return saying(206, c.content, "content-length", "10", "content-range", c.ranged, "etag", `"v"`)
				}
				return saying(200, c.content, "content-length", "10", "etag", `"v"`)
			})
			sent := ""
			if c.method == "PUT" {
				sent = c.content
			}
			w.ask(t, request(c.method, c.target, sent))
			if got := w.transferred(t); got.GetFormat() != c.format || got.GetPickle() != c.pickle {
				t.Errorf("format %q, pickle %t, want %q, %t", got.GetFormat(), got.GetPickle(), c.format, c.pickle)
			}
		})
	}
}

// TestHeaders: both gateways say what a safetensors file says of its tensors, and where its
// header and its size contradict one another; it passes all the same.
func TestHeaders(t *testing.T) {
	const header = `{"w":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}`
	file := string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header
	tensors, data := uint64(1), uint64(6)
	described := &crossingv1.Transfer{Format: "safetensors", Tensors: &tensors, Data: &data, Dtypes: []string{"BF16"}}
	inconsistent := proto.CloneOf(described)
	inconsistent.Inconsistent = true
	for name, c := range map[string]struct {
		target, content string
		want            *crossingv1.Transfer
	}{
		"a file":              {"/b/k", file + "123456", described},
		"its first part":      {"/b/k?partNumber=1&uploadId=U", file + "12", described},
		"one that is cut":     {"/b/k", file + "12345", inconsistent},
		"less than a header":  {"/b/k", file[:20], &crossingv1.Transfer{Format: "safetensors", Inconsistent: true}},
		"less in a part":      {"/b/k?partNumber=1&uploadId=U", file[:20], &crossingv1.Transfer{Format: "safetensors"}},
		"a header that is no": {"/b/k", strings.Replace(file, "BF16", `xx\u`, 1) + "123456", &crossingv1.Transfer{Format: "safetensors", Inconsistent: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStore(t, func(*l7.RequestHead) *upstream.Response { return saying(200, "", "etag", `"p"`) })
			w.ask(t, request("PUT", c.target, c.content))
			moved := w.transferred(t)
			got := &crossingv1.Transfer{Format: moved.Format, Tensors: moved.Tensors, Data: moved.Data, Dtypes: moved.Dtypes, Inconsistent: moved.Inconsistent}
			if d := cmp.Diff(c.want, got, protocmp.Transform()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestUploadInTrailers: a digest that comes behind the content counts.
func TestUploadInTrailers(t *testing.T) {
	w := newStore(t, func(*l7.RequestHead) *upstream.Response { return saying(201, "") })
	req := request("PUT", "/b/k", weights)
	*req.Trailers = l7.Fields{{Name: "content-digest", Value: digestOf("other weights")}}
	w.ask(t, req)
	got := w.transferred(t)
	if got.GetDeclared() != crossingv1.Transfer_MISMATCH || got.GetDeclaredSha256() != hexOf("other weights") || got.GetPartial() {
		t.Errorf("transfer %v", got)
	}
}

// TestUploadBrokenOff: the record has the digest of what came, and says that it is
// not all.
func TestUploadBrokenOff(t *testing.T) {
	w := newStore(t, func(*l7.RequestHead) *upstream.Response { return saying(201, "") })
	req := request("PUT", "/b/k", "", l7.Field{Name: "content-length", Value: "1000000"})
	req.Body = breaking{strings.NewReader(weights), io.ErrUnexpectedEOF}
	w.ask(t, req)
	got := w.joined(t).GetEgress().GetTransfer()
	if !got.GetPartial() || got.GetDigested() != 131072 || got.GetContentSha256() != hexOf(weights) ||
		got.GetAnonymous() != crossingv1.Transfer_NOT_ANSWERED || got.GetLength() != 1000000 {
		t.Errorf("transfer %v", got)
	}
}

// TestUploadAnsweredEarly: of an upload that the destination does not want, both say
// what came of it.
func TestUploadAnsweredEarly(t *testing.T) {
	w := newStore(t, nil)
	w.destination = func(*upstream.Request) (*upstream.Response, error) { return saying(413, "too much"), nil }
	r := w.ask(t, request("PUT", "/b/k", strings.Repeat(weights, 40)))
	if got := w.transferred(t); r.head.Status != 413 || got.GetDigested() != w.joined(t).GetIngress().GetRequestBytes() {
		t.Errorf("status %d, transfer %v", r.head.Status, got)
	}
}

// TestNoTransfer: calls, and what was refused, move no object.
func TestNoTransfer(t *testing.T) {
	for name, req := range map[string]*listener.Request{
		"a call":       request("POST", "/v1/chat", "hello", l7.Field{Name: "content-length", Value: "5"}),
		"a call's GET": request("GET", "/v1/models", ""),
		"denied":       request("PUT", "/v1/admin", weights),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, policytest.Estate(t, 1, func(p *policyv1.Policy) { p.Intents[0].Allow.Methods = nil }))
			w.ask(t, req)
			near := w.near.account(t)
			if near.Close.GetTransfer() != nil || near.Open.GetEnd().GetTransfer() != nil {
				t.Errorf("near has %v", near)
			}
			if near.Close != nil && w.far.account(t).Close.GetTransfer() != nil {
				t.Errorf("far has %v", w.far.account(t).Close)
			}
		})
	}
}
