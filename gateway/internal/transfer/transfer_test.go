package transfer

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

var parties = Parties{
	Caller:      "spiffe://aws.example/trainer",
	Destination: "spiffe://azure.example/store",
	Service:     "weights",
	Protocol:    "s3",
}

const (
	tag      = `"abc"`
	modified = "Tue, 15 Nov 1994 12:45:26 GMT"
	later    = "Tue, 15 Nov 1994 12:45:27 GMT"
	sum      = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// fields makes fields of names and values in turn.
func fields(nv ...string) (f l7.Fields) {
	for i := 0; i < len(nv); i += 2 {
		f = append(f, l7.Field{Name: nv[i], Value: nv[i+1]})
	}
	return f
}

func request(method, path string, nv ...string) *l7.RequestHead {
	return &l7.RequestHead{Method: method, Authority: "store.azure.mesh", Path: path, Fields: fields(nv...)}
}

func answer(status int, nv ...string) *l7.ResponseHead {
	return &l7.ResponseHead{Status: status, Fields: fields(nv...)}
}

// what is compared of a transfer: all but whether its id is a certain one.
var what = cmp.Options{cmpopts.IgnoreFields(Transfer{}, "ID"), cmpopts.IgnoreUnexported(Transfer{})}

func check(t *testing.T, p Parties, req *l7.RequestHead, ans *l7.ResponseHead, want Transfer) Transfer {
	t.Helper()
	got, ok := Of(p, req, ans)
	if !ok {
		t.Fatal("it moves an object, and is not told to")
	}
	if diff := cmp.Diff(want, got, what); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if (got.ID == ID{}) != (got.Anonymous != Identified) {
		t.Errorf("id %q, and it is said to be %q", got.ID, got.Anonymous)
	}
	return got
}

func TestDownloads(t *testing.T) {
	for name, c := range map[string]struct {
		req  *l7.RequestHead
		ans  *l7.ResponseHead
		want Transfer
	}{
		"all of it": {
			request("GET", "/b/k"), answer(200, "etag", tag, "content-length", "100"),
			Transfer{Extent: Whole, Size: 100, Length: 100},
		},
		"of an unknown length": {
			request("GET", "/b/k"), answer(200, "etag", tag),
			Transfer{Extent: Whole, Size: -1, Length: -1},
		},
		"a range": { // RFC 9110 14.4
			request("GET", "/b/k", "range", "bytes=42-1233"),
			answer(206, "etag", tag, "content-range", "bytes 42-1233/1234", "content-length", "1192"),
			Transfer{Extent: Range, Size: 1234, First: 42, Length: 1192},
		},
		"a range of an unknown whole": { // RFC 9110 14.4
			request("GET", "/b/k"), answer(206, "etag", tag, "content-range", "bytes 42-1233/*"),
			Transfer{Extent: Range, Size: -1, First: 42, Length: 1192},
		},
		"a range that is all": {
			request("GET", "/b/k"), answer(206, "etag", tag, "content-range", "bytes 0-9/10"),
			Transfer{Extent: Whole, Size: 10, Length: 10},
		},
		"several ranges": { // RFC 9110 15.3.7.2
			request("GET", "/b/k", "range", "bytes=0-1,5-6"),
			answer(206, "etag", tag, "content-length", "1741", "content-type", "multipart/byteranges; boundary=THIS"),
			Transfer{Extent: Ranges, Size: -1, First: -1, Length: 1741},
		},
		"several ranges under a date": {
			request("GET", "/b/k"),
			answer(206, "last-modified", modified, "date", later, "content-type", "Multipart/ByteRanges ;boundary=x"),
			Transfer{Extent: Ranges, Size: -1, First: -1, Length: -1, Anonymous: NoSize},
		},
		"a part": {
			request("GET", "/b/k?partNumber=3"), answer(206, "etag", tag, "content-range", "bytes 20-29/30"),
			Transfer{Extent: Range, Size: 30, First: 20, Length: 10, Part: 3},
		},
		"a range that is missing": {
			request("GET", "/b/k"), answer(206, "etag", tag, "content-length", "5"),
			Transfer{Size: -1, First: -1, Length: 5, Anonymous: BadRange},
		},
		"a range that is not the content's length": {
			request("GET", "/b/k"), answer(206, "etag", tag, "content-range", "bytes 0-4/9", "content-length", "4"),
			Transfer{Size: -1, First: -1, Length: 4, Anonymous: BadRange},
		},
		"two ranges told": {
			request("GET", "/b/k"), answer(206, "etag", tag, "content-range", "bytes 0-4/9", "content-range", "bytes 0-5/9"),
			Transfer{Size: -1, First: -1, Length: -1, Anonymous: BadRange},
		},
		"nothing in range": {
			request("GET", "/b/k"), answer(206, "etag", tag, "content-range", "bytes */9"),
			Transfer{Size: -1, First: -1, Length: -1, Anonymous: BadRange},
		},
		"a weak tag": {
			request("GET", "/b/k"), answer(200, "etag", `W/"abc"`, "content-length", "1"),
			Transfer{Extent: Whole, Size: 1, Length: 1, Anonymous: NoValidator},
		},
		"two tags": {
			request("GET", "/b/k"), answer(200, "etag", tag, "etag", `"other"`, "content-length", "1"),
			Transfer{Extent: Whole, Size: 1, Length: 1, Anonymous: NoValidator},
		},
		"a date": { // RFC 9110 8.8.2.2
			request("GET", "/b/k"), answer(200, "last-modified", modified, "date", later, "content-length", "1"),
			Transfer{Extent: Whole, Size: 1, Length: 1},
		},
		"a date of the same second": {
			request("GET", "/b/k"), answer(200, "last-modified", modified, "date", modified, "content-length", "1"),
			Transfer{Extent: Whole, Size: 1, Length: 1, Anonymous: NoValidator},
		},
		"a date beside no clock": {
			request("GET", "/b/k"), answer(200, "last-modified", modified, "content-length", "1"),
			Transfer{Extent: Whole, Size: 1, Length: 1, Anonymous: NoValidator},
		},
		"a date that its client knows": { // RFC 9110 15.3.7
			request("GET", "/b/k", "if-range", modified), answer(206, "date", later, "content-range", "bytes 1-1/2"),
			Transfer{Extent: Range, Size: 2, First: 1, Length: 1},
		},
		"a tag that its client knows and the server keeps to itself": {
			request("GET", "/b/k", "if-range", tag), answer(206, "date", later, "content-range", "bytes 1-1/2"),
			Transfer{Extent: Range, Size: 2, First: 1, Length: 1, Anonymous: NoValidator},
		},
		"a date that its client knows, of what the server tags weakly": { // RFC 9110 13.1.5
			request("GET", "/b/k", "if-range", modified),
			answer(206, "etag", `W/"abc"`, "date", later, "content-range", "bytes 1-1/2"),
			Transfer{Extent: Range, Size: 2, First: 1, Length: 1, Anonymous: NoValidator},
		},
		"with a coding": {
			request("GET", "/b/k"), answer(200, "etag", tag, "content-encoding", "gzip"),
			Transfer{Extent: Whole, Size: -1, Length: -1, Coded: true},
		},
		"asked for": {
			request("GET", "/b/k"), nil,
			Transfer{Size: -1, First: -1, Length: -1, Anonymous: NotAnswered},
		},
		"a range asked for": {
			request("GET", "/b/k", "range", "bytes=5-9"), nil,
			Transfer{Extent: Range, Size: -1, First: 5, Length: 5, Anonymous: NotAnswered},
		},
		"a rest asked for": {
			request("GET", "/b/k", "range", "bytes=5-"), nil,
			Transfer{Extent: Range, Size: -1, First: 5, Length: -1, Anonymous: NotAnswered},
		},
		"an end asked for": {
			request("GET", "/b/k", "range", "bytes=-5"), nil,
			Transfer{Extent: Range, Size: -1, First: -1, Length: -1, Anonymous: NotAnswered},
		},
		"ranges asked for": {
			request("GET", "/b/k", "range", "bytes=0-1, ,4-"), nil,
			Transfer{Extent: Ranges, Size: -1, First: -1, Length: -1, Anonymous: NotAnswered},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Direction, c.want.Object, c.want.Held = Download, "/b/k", -1
			check(t, parties, c.req, c.ans, c.want)
		})
	}
}

func TestUploads(t *testing.T) {
	const session, digested = "/v2/org/m/blobs/uploads/u-1", "/v2/org/m/manifests/sha256:" + sum
	for name, c := range map[string]struct {
		protocol string
		req      *l7.RequestHead
		ans      *l7.ResponseHead
		want     Transfer
	}{
		"an object": {
			"s3", request("PUT", "/b/k", "content-length", "7"), answer(200, "etag", tag),
			Transfer{Object: "/b/k", Extent: Whole, Size: 7, Length: 7, Held: -1},
		},
		"an object that nobody confirmed": {
			"s3", request("PUT", "/b/k", "content-length", "7"), nil,
			Transfer{Object: "/b/k", Extent: Whole, Size: 7, Length: 7, Held: -1, Anonymous: NotAnswered},
		},
		"an object that was refused": {
			"s3", request("PUT", "/b/k", "content-length", "7"), answer(403, "etag", tag),
			Transfer{Object: "/b/k", Extent: Whole, Size: 7, Length: 7, Held: -1, Anonymous: NoValidator},
		},
		"an object in signed frames": {
			"s3", request("PUT", "/b/k", "content-length", "99", "content-encoding", "gzip,aws-chunked"), answer(200, "etag", tag),
			Transfer{Object: "/b/k", Size: -1, First: -1, Length: 99, Held: -1, Coded: true, Anonymous: NoValidator},
		},
		"an empty object": {
			"s3", request("PUT", "/b/k", "content-length", "0"), answer(200, "etag", tag),
			Transfer{Object: "/b/k", Extent: Whole, Held: -1},
		},
		"a copy that moves nothing": {
			"s3", request("PUT", "/b/k", "content-length", "0", "x-amz-copy-source", "/b/other"), answer(200),
			Transfer{Object: "/b/k", Extent: None, Size: -1, First: -1, Held: -1, Anonymous: NoValidator},
		},
		"about an object": {
			"s3", request("PUT", "/b/k?tagging", "content-length", "7"), answer(200, "etag", tag),
			Transfer{Object: "/b/k", Size: -1, First: -1, Length: 7, Held: -1, Anonymous: UnclearQuery},
		},
		"a part": {
			"s3", request("PUT", "/b/k?partNumber=2&uploadId=U", "content-length", "7"), nil,
			Transfer{Object: "/b/k", Extent: Part, Size: -1, First: -1, Length: 7, Part: 2, Held: -1},
		},
		"the list of parts": {
			"s3", request("POST", "/b/k?uploadId=U", "content-length", "700"), nil,
			Transfer{Object: "/b/k", Extent: None, Size: -1, First: -1, Length: 700, Held: -1},
		},
		"a part of a file": { // RFC 9110 14.5
			"http", request("PUT", "/f", "content-range", "bytes 5-9/20", "content-length", "5"), answer(200, "etag", tag),
			Transfer{Object: "/f", Extent: Range, Size: 20, First: 5, Length: 5, Held: -1, Anonymous: NoValidator},
		},
		"a piece, resumable": {
			"http", request("PUT", "/b/k?upload_id=U&name=x", "content-range", "bytes 5-9/20"), nil,
			Transfer{Object: "/b/k", Extent: Range, Size: 20, First: 5, Length: 5, Held: -1},
		},
		"how far it has come": {
			"http", request("PUT", "/b/k?upload_id=U", "content-range", "bytes */20"), nil,
			Transfer{Object: "/b/k", Extent: None, Size: 20, First: -1, Length: -1, Held: -1},
		},
		"a piece that contradicts its length": {
			"http", request("PUT", "/b/k?upload_id=U", "content-range", "bytes 5-9/20", "content-length", "6"), nil,
			Transfer{Object: "/b/k", Size: -1, First: -1, Length: 6, Held: -1, Anonymous: BadRange},
		},
		"a call": {
			"http", request("POST", "/v1/chat", "content-length", "9"), answer(200),
			Transfer{Object: "/v1/chat", Size: -1, First: -1, Length: 9, Held: -1, Anonymous: NoValidator},
		},
		"a chunk": {
			"oci", request("PATCH", session+"?_state=S", "content-range", "100-199", "content-length", "100"), nil,
			Transfer{Object: session, Extent: Range, Size: -1, First: 100, Length: 100, Held: -1},
		},
		"a chunk with a unit": {
			"oci", request("PATCH", session, "content-range", "bytes 100-199/200"), nil,
			Transfer{Object: session, Size: -1, First: -1, Length: -1, Held: -1, Anonymous: BadRange},
		},
		"a chunk whose place the registry tells": {
			"oci", request("PATCH", session, "content-length", "100"), answer(202, "range", "0-299"),
			Transfer{Object: session, Extent: Range, Size: -1, First: 200, Length: 100, Held: 300},
		},
		"a chunk that streams": {
			"oci", request("PATCH", session), answer(202, "range", "0-299"),
			Transfer{Object: session, Size: -1, First: -1, Length: -1, Held: 300},
		},
		"a registry that may have nothing": {
			"oci", request("PATCH", session, "content-length", "1"), answer(202, "range", "0-0"),
			Transfer{Object: session, Size: -1, First: -1, Length: 1, Held: -1},
		},
		"the end of an upload": {
			"oci", request("PUT", session+"?digest=sha256%3A"+sum, "content-length", "0"), answer(201),
			Transfer{Object: session, Extent: None, Size: -1, First: -1, Held: -1, Digest: "sha256:" + sum},
		},
		"the last chunk, or all there is": {
			"oci", request("PUT", session+"?digest=sha256:"+sum, "content-length", "5"), answer(201),
			Transfer{Object: session, Size: -1, First: -1, Length: 5, Held: -1, Digest: "sha256:" + sum},
		},
		"a blob in one request": {
			"oci", request("POST", "/v2/org/m/blobs/uploads/?digest=sha256:"+sum, "content-length", "5"), nil,
			Transfer{Object: "/v2/org/m/blobs/uploads/", Extent: Whole, Size: 5, Length: 5, Held: -1, Digest: "sha256:" + sum},
		},
		"a manifest": {
			"oci", request("PUT", digested, "content-length", "5"), nil,
			Transfer{Object: digested, Extent: Whole, Size: 5, Length: 5, Held: -1, Digest: "sha256:" + sum},
		},
		"what is no registry's": {
			"kserve", request("PUT", digested, "content-length", "5"), nil,
			Transfer{Object: digested, Extent: Whole, Size: 5, Length: 5, Held: -1, Anonymous: NotAnswered},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Direction = Upload
			p := parties
			p.Protocol = c.protocol
			check(t, p, c.req, c.ans, c.want)
		})
	}
}

func TestNoTransfers(t *testing.T) {
	for name, c := range map[string]struct {
		req *l7.RequestHead
		ans *l7.ResponseHead
	}{
		"not modified":    {request("GET", "/b/k"), answer(304, "etag", tag)},
		"not satisfiable": {request("GET", "/b/k"), answer(416, "content-range", "bytes */9")},
		"redirected":      {request("GET", "/v2/m/blobs/sha256:"+sum), answer(307)},
		"a head":          {request("HEAD", "/b/k"), answer(200, "etag", tag)},
		"parts listed":    {request("GET", "/b/k?uploadId=U"), answer(200)},
		"no content":      {request("POST", "/b/k", "content-length", "0"), answer(200)},
		"gRPC":            {request("POST", "/s/m", "content-type", "application/grpc"), answer(200)},
		"a tunnel":        {request("CONNECT", ""), answer(200)},
	} {
		if got, ok := Of(parties, c.req, c.ans); ok {
			t.Errorf("%s: %+v, want none", name, got)
		}
	}
}

// What most exchanges are costs no memory.
func TestOfDoesNotAllocate(t *testing.T) {
	req := request("GET", "/bucket/models/weights-00001-of-00191.safetensors", "range", "bytes=0-8388607")
	ans := answer(206, "etag", tag, "content-length", "8388608", "content-range", "bytes 0-8388607/4976698672")
	if n := testing.AllocsPerRun(100, func() {
		if got, ok := Of(parties, req, ans); !ok || got.ID == (ID{}) {
			t.Fatal(got)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkOf(b *testing.B) {
	req := request("GET", "/bucket/models/weights-00001-of-00191.safetensors", "range", "bytes=0-8388607")
	ans := answer(206, "etag", tag, "content-length", strconv.Itoa(8<<20), "content-range", "bytes 0-8388607/4976698672")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Of(parties, req, ans); !ok {
			b.Fatal("no transfer")
		}
	}
}
