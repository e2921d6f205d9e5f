package transfer

import (
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

const (
	digestPath = "/v2/llm/blobs/sha256:" + sum
	large      = "1048576"
	small      = "1048575"
)

func TestIsUpload(t *testing.T) {
	for name, c := range map[string]struct {
		protocol string
		req      *l7.RequestHead
		empty    bool
		want     bool
	}{
		"a call":                   {"openai", request("POST", "/v1/chat/completions", "content-length", small), false, false},
		"a call of unknown length": {"openai", request("POST", "/v1/chat/completions"), false, false},
		"a large call":             {"openai", request("POST", "/v1/chat/completions", "content-length", large), false, true},
		"a large GET":              {"http", request("GET", "/", "content-length", large), false, false},
		"a small PUT":              {"http", request("PUT", "/k", "content-length", small), false, false},
		"a PUT of unknown length":  {"http", request("PUT", "/k"), false, true},
		"a PUT of nothing":         {"http", request("PUT", "/k"), true, false},
		"a PATCH":                  {"http", request("PATCH", "/k", "content-length", "9"), false, false},
		"a piece":                  {"http", request("PATCH", "/k", "content-length", "9", "content-range", "bytes 0-8/90"), false, true},
		"a declared digest":        {"http", request("POST", "/k", "content-length", "9", "content-digest", "sha-256=:x:"), false, true},
		"a signed digest":          {"http", request("PUT", "/k", "content-length", "9", "x-amz-content-sha256", sum), false, true},
		"signed without a digest":  {"http", request("PUT", "/k", "content-length", "9", "x-amz-content-sha256", "UNSIGNED-PAYLOAD"), false, false},
		"a part":                   {"http", request("PUT", "/k?partNumber=1&uploadId=U", "content-length", "9"), false, true},
		"the end of an upload":     {"http", request("POST", "/k?uploadId=U", "content-length", "9"), false, true},
		"something about uploads":  {"http", request("POST", "/uploads", "content-length", "9"), false, false},

		"an object":             {"s3", request("PUT", "/b/k", "content-length", "9"), false, true},
		"an object's access":    {"s3", request("PUT", "/b/k?acl", "content-length", "9"), false, false},
		"an upload that begins": {"s3", request("POST", "/b/k?uploads", "content-length", "0"), true, false},
		"a manifest":            {"oci", request("PUT", "/v2/llm/manifests/v1", "content-length", "9"), false, true},
		"a chunk":               {"oci", request("PATCH", "/v2/llm/blobs/uploads/u-1"), false, true},
		"a blob at once":        {"oci", request("POST", "/v2/llm/blobs/uploads/?digest=sha256:"+sum, "content-length", "9"), false, true},
		"a session that begins": {"oci", request("POST", "/v2/llm/blobs/uploads/", "content-length", "0"), true, false},
	} {
		if got := IsUpload(c.protocol, c.req, c.empty); got != c.want {
			t.Errorf("%s: IsUpload = %t", name, got)
		}
	}
}

func TestIsDownload(t *testing.T) {
	get := request("GET", "/k")
	for name, c := range map[string]struct {
		protocol string
		req      *l7.RequestHead
		ans      *l7.ResponseHead
		want     bool
	}{
		"a call's result":          {"http", get, answer(200, "content-length", small, "etag", tag), false},
		"a stream of events":       {"http", get, answer(200, "content-type", "text/event-stream; charset=utf-8", "etag", tag), false},
		"of unknown length":        {"http", get, answer(200, "content-type", "application/json"), false},
		"of a version":             {"http", get, answer(200, "etag", tag), true},
		"of a date":                {"http", get, answer(200, "last-modified", modified), true},
		"bytes":                    {"http", get, answer(200, "content-type", "application/octet-stream"), true},
		"large":                    {"http", get, answer(200, "content-length", large), true},
		"large, by POST":           {"http", request("POST", "/k"), answer(200, "content-length", large), false},
		"large, and not found":     {"http", get, answer(404, "content-length", large), false},
		"of two lengths, at last":  {"http", get, answer(200, "content-length", "x", "content-length", large), true},
		"a range":                  {"http", get, answer(206, "content-length", "1"), true},
		"a range was asked for":    {"http", request("GET", "/k", "range", "bytes=5-"), answer(200, "content-length", "9"), true},
		"a declared digest":        {"http", get, answer(200, "content-length", "9", "repr-digest", "sha-256=:x:"), true},
		"an object":                {"s3", get, answer(200, "content-length", "9"), true},
		"a list of objects":        {"s3", request("GET", "/b?list-type=2"), answer(200, "content-length", "9"), false},
		"a blob":                   {"oci", request("GET", digestPath), answer(200, "content-length", "9"), true},
		"a blob that is not there": {"oci", request("GET", digestPath), answer(404, "content-length", "9"), false},
	} {
		if got := IsDownload(c.protocol, c.req, c.ans); got != c.want {
			t.Errorf("%s: IsDownload = %t", name, got)
		}
	}
}

// TestCallsPayNothing: to see that an exchange moves no object takes no memory.
func TestCallsPayNothing(t *testing.T) {
	req, ans := call()
	if n := testing.AllocsPerRun(100, func() {
		if IsUpload("openai", req, false) || IsDownload("http", req, ans) {
			t.Fatal("a call is taken for an object")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// call is an ordinary one.
func call() (*l7.RequestHead, *l7.ResponseHead) {
	req := request("POST", "/v1/chat/completions", "content-type", "application/json", "content-length", "480",
		"user-agent", "OpenAI/Python 1.0", "authorization", strings.Repeat("x", 64), "accept", "application/json")
	return req, answer(200, "content-type", "application/json", "content-length", "980", "date", later, "server", "uvicorn")
}

// BenchmarkCall: what does it take to see that a call moves no object?
func BenchmarkCall(b *testing.B) {
	req, ans := call()
	get := request("GET", "/v1/models", req.Fields[0].Name, req.Fields[0].Value)
	b.ReportAllocs()
	for b.Loop() {
		if IsUpload("openai", req, false) || IsDownload("openai", get, ans) {
			b.Fatal("a call is taken for an object")
		}
	}
}
