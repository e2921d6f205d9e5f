package digest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
)

// content is the example of RFC 9530, appendix A, and its SHA-256 there.
const (
	content       = `{"hello": "world"}` + "\n"
	contentBase64 = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="
)

// hexOf is the digest of s as OCI and S3 write it.
func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func base64Of(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func fields(nv ...string) (f l7.Fields) {
	for i := 0; i < len(nv); i += 2 {
		f = append(f, l7.Field{Name: nv[i], Value: nv[i+1]})
	}
	return f
}

func TestVerdicts(t *testing.T) {
	type exchange struct {
		protocol, method, path string
		req, ans, trailers     l7.Fields
		status                 int // 0 if there is no answer
		streamed               string
		brokenOff              bool
	}
	wide := sha512.Sum512([]byte(content))
	long := "sha-512=:" + base64.StdEncoding.EncodeToString(wide[:]) + ":"
	const blob, session = "/v2/org/m/blobs/sha256:", "/v2/org/m/blobs/uploads/u-1"
	part := "/b/k?partNumber=1&uploadId=U"
	for name, c := range map[string]struct {
		exchange
		want Verdict
	}{
		"nothing":                      {exchange{method: "GET", status: 200, streamed: content}, NothingDeclared},
		"RFC 9530's example":           {exchange{method: "GET", status: 200, streamed: content, ans: fields("content-digest", "sha-256=:"+contentBase64+":")}, Match},
		"another content":              {exchange{method: "GET", status: 200, streamed: "x", ans: fields("content-digest", "sha-256=:"+contentBase64+":")}, Mismatch},
		"in trailers":                  {exchange{method: "GET", status: 200, streamed: "x", trailers: fields("content-digest", "sha-256=:"+contentBase64+":")}, Mismatch},
		"beside another algorithm":     {exchange{method: "GET", status: 200, streamed: content, ans: fields("content-digest", long+", sha-256=:"+contentBase64+":;p=1")}, Match},
		"another algorithm":            {exchange{method: "GET", status: 200, streamed: content, ans: fields("content-digest", long)}, NotComparable},
		"malformed":                    {exchange{method: "GET", status: 200, streamed: content, ans: fields("content-digest", "sha-256="+contentBase64)}, NotComparable},
		"malformed after a good one":   {exchange{method: "GET", status: 200, streamed: "x", ans: fields("content-digest", "sha-256=:"+contentBase64+":, y")}, NotComparable},
		"two, and the last one":        {exchange{method: "GET", status: 200, streamed: content, ans: fields("content-digest", "sha-256=:"+base64Of("x")+":, sha-256=:"+contentBase64+":")}, Match},
		"two that differ":              {exchange{method: "GET", status: 200, streamed: content, ans: fields("content-digest", "sha-256=:"+base64Of("x")+":", "repr-digest", "sha-256=:"+contentBase64+":")}, Mismatch},
		"broken off":                   {exchange{method: "GET", status: 200, streamed: "x", brokenOff: true, ans: fields("content-digest", "sha-256=:"+contentBase64+":")}, NotComparable},
		"broken off when all is there": {exchange{method: "GET", status: 200, streamed: content, brokenOff: true, ans: fields("content-digest", "sha-256=:"+contentBase64+":")}, Match},
		"shorter than told":            {exchange{method: "GET", status: 200, streamed: "x", ans: fields("content-length", "2", "content-digest", "sha-256=:"+contentBase64+":")}, NotComparable},
		"of a range, its content":      {exchange{method: "GET", status: 206, streamed: "x", ans: fields("content-range", "bytes 1-1/9", "content-digest", "sha-256=:"+contentBase64+":")}, Mismatch},
		"of a range, the whole":        {exchange{method: "GET", status: 206, streamed: "x", ans: fields("content-range", "bytes 1-1/9", "repr-digest", "sha-256=:"+contentBase64+":")}, NotComparable},
		"of a range that is all":       {exchange{method: "GET", status: 206, streamed: "x", ans: fields("content-range", "bytes 0-0/1", "repr-digest", "sha-256=:"+contentBase64+":")}, Mismatch},
		"the whole, with a coding":     {exchange{method: "GET", status: 200, streamed: "x", ans: fields("content-encoding", "gzip", "repr-digest", "sha-256=:"+contentBase64+":")}, Mismatch},
		"of an answer to an upload":    {exchange{method: "PUT", status: 200, streamed: content, ans: fields("content-digest", "sha-256=:"+base64Of("x")+":")}, NothingDeclared},
		"of an upload":                 {exchange{method: "PUT", streamed: content, req: fields("repr-digest", "sha-256=:"+base64Of("x")+":")}, Mismatch},
		"asked, not answered":          {exchange{method: "GET", req: fields("content-digest", "sha-256=:"+base64Of("x")+":")}, NothingDeclared},

		"a blob":                  {exchange{protocol: "oci", method: "GET", path: blob + hexOf(content), status: 200, streamed: content}, Match},
		"a blob that is another":  {exchange{protocol: "oci", method: "GET", path: blob + hexOf(content), status: 200, streamed: "x"}, Mismatch},
		"a blob, resumed":         {exchange{protocol: "oci", method: "GET", path: blob + hexOf(content), status: 206, streamed: "x", ans: fields("content-range", "bytes 1-1/2")}, NotComparable},
		"a blob with a coding":    {exchange{protocol: "oci", method: "GET", path: blob + hexOf(content), status: 200, streamed: "x", ans: fields("content-encoding", "gzip")}, NotComparable},
		"a blob by SHA-512":       {exchange{protocol: "oci", method: "GET", path: "/v2/m/blobs/sha512:" + hex.EncodeToString(wide[:]), status: 200, streamed: content}, NotComparable},
		"a manifest by tag":       {exchange{protocol: "oci", method: "GET", path: "/v2/m/manifests/v1", status: 200, streamed: "x", ans: fields("docker-content-digest", "sha256:"+hexOf(content))}, Mismatch},
		"a registry's SHA-512":    {exchange{protocol: "oci", method: "GET", path: "/v2/m/manifests/v1", status: 200, streamed: "x", ans: fields("docker-content-digest", "sha512:"+hexOf(content))}, NotComparable},
		"what a registry got":     {exchange{protocol: "oci", method: "PUT", path: "/v2/m/manifests/v1", status: 201, streamed: "x", ans: fields("docker-content-digest", "sha256:"+hexOf(content))}, Mismatch},
		"what a registry refused": {exchange{protocol: "oci", method: "PUT", path: "/v2/m/manifests/v1", status: 400, streamed: "x", ans: fields("docker-content-digest", "sha256:"+hexOf(content))}, NothingDeclared},
		"a blob in one request":   {exchange{protocol: "oci", method: "POST", path: "/v2/m/blobs/uploads/?digest=sha256:" + hexOf(content), streamed: "x"}, Mismatch},
		"a blob's only chunk":     {exchange{protocol: "oci", method: "PUT", path: session + "?digest=sha256:" + hexOf(content), streamed: content}, Match},
		"a blob's last chunk":     {exchange{protocol: "oci", method: "PUT", path: session + "?digest=sha256:" + hexOf(content), streamed: "x"}, NotComparable},
		"a blob's end":            {exchange{protocol: "oci", method: "PUT", path: session + "?digest=sha256:" + hexOf(content), req: fields("content-length", "0")}, NotComparable},

		"an object":                 {exchange{method: "GET", status: 200, streamed: content, ans: fields("x-amz-checksum-sha256", base64Of(content))}, Match},
		"an object of parts":        {exchange{method: "GET", status: 200, streamed: content, ans: fields("x-amz-checksum-sha256", base64Of("x")+"-3")}, NotComparable},
		"a part of an object":       {exchange{method: "GET", path: "/b/k?partNumber=1", status: 206, streamed: "x", ans: fields("content-range", "bytes 0-0/9", "x-amz-checksum-sha256", base64Of("x"))}, Match},
		"a part, uploaded":          {exchange{method: "PUT", path: part, streamed: "x", req: fields("x-amz-checksum-sha256", base64Of(content))}, Mismatch},
		"a part that the store has": {exchange{method: "PUT", path: part, status: 200, streamed: "x", ans: fields("x-amz-checksum-sha256", base64Of(content))}, Mismatch},
		"the list of parts":         {exchange{method: "POST", path: "/b/k?uploadId=U", streamed: "<parts/>", req: fields("x-amz-checksum-sha256", base64Of(content))}, NotComparable},
		"in signed frames":          {exchange{method: "PUT", streamed: "x", req: fields("content-encoding", "aws-chunked", "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-checksum-sha256", base64Of(content))}, NotComparable},
		"signed":                    {exchange{method: "PUT", streamed: "x", req: fields("x-amz-content-sha256", hexOf(content))}, Mismatch},
		"signed, of a part":         {exchange{method: "PUT", path: part, streamed: content, req: fields("x-amz-content-sha256", hexOf(content))}, Match},
		"unsigned":                  {exchange{method: "PUT", streamed: "x", req: fields("x-amz-content-sha256", "UNSIGNED-PAYLOAD")}, NothingDeclared},
	} {
		t.Run(name, func(t *testing.T) {
			if c.path == "" {
				c.path = "/b/k"
			}
			req := &l7.RequestHead{Method: c.method, Authority: "a", Path: c.path, Fields: c.req}
			var ans *l7.ResponseHead
			if c.status != 0 {
				ans = &l7.ResponseHead{Status: c.status, Fields: c.ans}
			}
			tr, ok := transfer.Of(transfer.Parties{Protocol: c.protocol}, req, ans)
			if !ok {
				t.Fatal("no transfer")
			}
			var d Content
			d.Write([]byte(c.streamed))
			end := d.Finish
			if c.brokenOff {
				end = d.BreakOff
			}
			sum, all := end(), append(Declarations(&tr, req, ans), InTrailers(&tr, c.trailers)...)
			got, by := sum.Judge(&tr, all)
			if got != c.want {
				t.Errorf("%s, want %s; declared %+v of %+v", got, c.want, all, tr)
			}
			if by.By == "" != (got == NothingDeclared) || got > NothingDeclared && sum.Check(&tr, by) != got {
				t.Errorf("%s is said of %+v", got, by)
			}
		})
	}
}

// What is known of a dictionary is 32 bytes that it has in base64.
func FuzzDeclared(f *testing.F) {
	f.Add("sha-256=:" + contentBase64 + ":")
	f.Add("sha-512=:AA==:, sha-256=:" + contentBase64 + ":;a=b")
	f.Add(hexOf("x"))
	f.Add("sha256:" + hexOf("x"))
	f.Fuzz(func(t *testing.T, value string) {
		if !l7.ValidValue(value) {
			return
		}
		req := &l7.RequestHead{Method: "PUT", Authority: "a", Path: "/k"}
		for _, name := range []string{"content-digest", "repr-digest", "x-amz-content-sha256", "x-amz-checksum-sha256", "docker-content-digest"} {
			req.Fields = append(req.Fields, l7.Field{Name: name, Value: value})
		}
		tr, _ := transfer.Of(transfer.Parties{}, req, nil)
		for _, d := range Declarations(&tr, req, nil) {
			text := strings.TrimRight(base64.StdEncoding.EncodeToString(d.SHA256[:]), "=")
			// The last of 43 characters has two bits that no byte takes.
			if d.Known && !strings.Contains(value, text[:42]) && !strings.Contains(value, hex.EncodeToString(d.SHA256[:])) {
				t.Errorf("%s %q: %x, which it does not have", d.By, value, d.SHA256)
			}
			if !d.Known && d.SHA256 != ([sha256.Size]byte{}) {
				t.Errorf("%s %q: %x, and not known", d.By, value, d.SHA256)
			}
		}
	})
}
