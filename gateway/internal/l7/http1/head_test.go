package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"testing/iotest"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

func readHead(br *bufio.Reader) (*Request, error) {
	r := new(Request)
	return r, ReadHead(br, r)
}

// accepted are heads of every form.
var accepted = []struct {
	name string
	head string
	want Request
}{
	{
		"origin form", head("GET /v1/models?x=1 HTTP/1.1", "Host: llm.azure.mesh", "Accept:  */* ", "X-Empty:"),
		Request{Head: l7.RequestHead{
			Method: "GET", Authority: "llm.azure.mesh", Path: "/v1/models?x=1",
			Fields: l7.Fields{{Name: "accept", Value: "*/*"}, {Name: "x-empty", Value: ""}},
		}},
	},
	{
		"absolute form", head("GET http://llm.azure.mesh/v1 HTTP/1.1", "Host: llm.azure.mesh:80"),
		Request{Proxy: true, Head: l7.RequestHead{Method: "GET", Scheme: "http", Authority: "llm.azure.mesh", Path: "/v1", Fields: l7.Fields{}}},
	},
	{
		"absolute form without a path", head("GET HTTPS://H:8443?q HTTP/1.1", "Host: h:8443"),
		Request{Proxy: true, Head: l7.RequestHead{Method: "GET", Scheme: "https", Authority: "H:8443", Path: "/?q", Fields: l7.Fields{}}},
	},
	{
		"connect", head("CONNECT llm.azure.mesh:443 HTTP/1.1", "Host: llm.azure.mesh"),
		Request{Proxy: true, Head: l7.RequestHead{Method: "CONNECT", Authority: "llm.azure.mesh:443", Fields: l7.Fields{}}},
	},
	{
		"asterisk", head("OPTIONS * HTTP/1.1", "Host: h"),
		Request{Head: l7.RequestHead{Method: "OPTIONS", Authority: "h", Path: "*", Fields: l7.Fields{}}},
	},
	{
		"length", head("POST / HTTP/1.1", "Host: h", "Content-Length: 5", "Connection: x, Close"),
		Request{Length: 5, Close: true, Head: l7.RequestHead{
			Method: "POST", Authority: "h", Path: "/",
			Fields: l7.Fields{{Name: "content-length", Value: "5"}, {Name: "connection", Value: "x, Close"}},
		}},
	},
	{
		"chunked", head("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: Chunked", "Expect: 100-Continue", "Trailer: x-sum"),
		Request{Length: Chunked, Continue: true, Head: l7.RequestHead{
			Method: "POST", Authority: "h", Path: "/", Fields: l7.Fields{{Name: "trailer", Value: "x-sum"}},
		}},
	},
	{
		"upgrade", head("GET / HTTP/1.1", "Host: h", "Upgrade: websocket", "Upgrade: x"),
		Request{Upgrade: "websocket, x", Head: l7.RequestHead{
			Method: "GET", Authority: "h", Path: "/",
			Fields: l7.Fields{{Name: "upgrade", Value: "websocket"}, {Name: "upgrade", Value: "x"}},
		}},
	},
}

func TestReadHead(t *testing.T) {
	for _, tt := range accepted {
		t.Run(tt.name, func(t *testing.T) {
			const next = "what follows"
			br := bufio.NewReader(iotest.HalfReader(strings.NewReader(tt.head + next)))
			got, err := readHead(br)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got, cmpopts.IgnoreUnexported(Request{})); diff != "" {
				t.Errorf("ReadHead (-want +got):\n%s", diff)
			}
			if rest, _ := io.ReadAll(br); string(rest) != next {
				t.Errorf("left to read: %q, want %q", rest, next)
			}
			sameAsNetHTTP(t, tt.head, got)
		})
	}
}

func TestReadHeadRefuses(t *testing.T) {
	const host = "Host: h"
	for _, tt := range []struct {
		name   string
		head   string
		status int
	}{
		{"bare LF after the request line", "GET / HTTP/1.1\nHost: h\r\n\r\n", 400},
		{"bare LF after a field", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400},
		{"bare LF at the end", "GET / HTTP/1.1\r\nHost: h\r\n\n", 400},
		{"bare CR in a value", head("GET / HTTP/1.1", host, "X: a\rb"), 400},
		{"bare CR in the request line", head("GET /\r HTTP/1.1", host), 400},
		{"two CRs", "GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", 400},
		{"empty line first", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"obs-fold", head("GET / HTTP/1.1", host, "X: a", " b"), 400},
		{"obs-fold with a tab", head("GET / HTTP/1.1", host, "X: a", "\tb"), 400},
		{"fold after the request line", head("GET / HTTP/1.1", " Host: h"), 400},
		{"space before the colon", head("GET / HTTP/1.1", host, "X : a"), 400},
		{"space before the colon of a length", head("POST / HTTP/1.1", host, "Content-Length : 5"), 400},
		{"empty name", head("GET / HTTP/1.1", host, ": a"), 400},
		{"no colon", head("GET / HTTP/1.1", host, "abc"), 400},
		{"bad name", head("GET / HTTP/1.1", host, "a(b): c"), 400},
		{"name beyond ASCII", head("GET / HTTP/1.1", host, "\u00fc: c"), 400},
		{"NUL in a value", head("GET / HTTP/1.1", host, "X: a\x00b"), 400},
		{"DEL in a value", head("GET / HTTP/1.1", host, "X: a\x7fb"), 400},
		{"both lengths", head("POST / HTTP/1.1", host, "Content-Length: 5", "Transfer-Encoding: chunked"), 400},
		{"two lengths", head("POST / HTTP/1.1", host, "Content-Length: 5", "Content-Length: 6"), 400},
		{"the same length twice", head("POST / HTTP/1.1", host, "Content-Length: 5", "Content-Length: 5"), 400},
		{"a list of lengths", head("POST / HTTP/1.1", host, "Content-Length: 5, 5"), 400},
		{"signed length", head("POST / HTTP/1.1", host, "Content-Length: +5"), 400},
		{"negative length", head("POST / HTTP/1.1", host, "Content-Length: -5"), 400},
		{"hex length", head("POST / HTTP/1.1", host, "Content-Length: 0x5"), 400},
		{"empty length", head("POST / HTTP/1.1", host, "Content-Length:"), 400},
		{"length beyond 63 bits", head("POST / HTTP/1.1", host, "Content-Length: 9223372036854775808"), 400},
		{"other coding", head("POST / HTTP/1.1", host, "Transfer-Encoding: gzip, chunked"), 400},
		{"chunked twice", head("POST / HTTP/1.1", host, "Transfer-Encoding: chunked, chunked"), 400},
		{"two codings", head("POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400},
		{"hidden coding", head("POST / HTTP/1.1", host, "Transfer-Encoding: \x0bchunked"), 400},
		{"coding as identity", head("POST / HTTP/1.1", host, "Transfer-Encoding: identity"), 400},
		{"no host", head("GET / HTTP/1.1"), 400},
		{"no host but a field", head("GET / HTTP/1.1", "X: y"), 400},
		{"two hosts", head("GET / HTTP/1.1", host, host), 400},
		{"empty host", head("GET / HTTP/1.1", "Host:"), 400},
		{"user in host", head("GET / HTTP/1.1", "Host: u@h"), 400},
		{"path in host", head("GET / HTTP/1.1", "Host: h/x"), 400},
		{"host is not the target's", head("GET http://other/ HTTP/1.1", host), 400},
		{"port is not the target's", head("GET http://h:81/ HTTP/1.1", host), 400},
		{"default port of the other scheme", head("GET http://h:443/ HTTP/1.1", host), 400},
		{"user in the target", head("GET http://u@h/ HTTP/1.1", host), 400},
		{"other scheme", head("GET ftp://h/ HTTP/1.1", host), 400},
		{"no target form", head("GET h HTTP/1.1", host), 400},
		{"asterisk for GET", head("GET * HTTP/1.1", host), 400},
		{"fragment", head("GET /a#b HTTP/1.1", host), 400},
		{"fragment in absolute form", head("GET http://h#b HTTP/1.1", host), 400},
		{"target beyond ASCII", head("GET /\u00fc HTTP/1.1", host), 400},
		{"dot segments", head("GET /a/../b HTTP/1.1", host), 400},
		{"connect without a port", head("CONNECT h HTTP/1.1", host), 400},
		{"connect to another host", head("CONNECT other:1 HTTP/1.1", host), 400},
		{"connect to a path", head("CONNECT / HTTP/1.1", host), 400},
		{"connect with content", head("CONNECT h:1 HTTP/1.1", host, "Content-Length: 5"), 400},
		{"connect with chunks", head("CONNECT h:1 HTTP/1.1", host, "Transfer-Encoding: chunked"), 400},
		{"method", head("G\"T / HTTP/1.1", host), 400},
		{"long method", head(strings.Repeat("G", 65)+" / HTTP/1.1", host), 400},
		{"two spaces", head("GET  / HTTP/1.1", host), 400},
		{"space at the end", head("GET / HTTP/1.1 ", host), 400},
		{"no version", head("GET /", host), 400},
		{"lower-case version", head("GET / http/1.1", host), 400},
		{"HTTP/1.0", head("GET / HTTP/1.0", host), 505},
		{"HTTP/1.2", head("GET / HTTP/1.2", host), 505},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n", 505},
		{"other expectation", head("POST / HTTP/1.1", host, "Expect: 200-ok"), 417},
		{"trailer that frames", head("POST / HTTP/1.1", host, "Transfer-Encoding: chunked", "Trailer: x, Content-Length"), 400},
		{"long request line", head("GET /"+strings.Repeat("a", 16<<10)+" HTTP/1.1", host), 414},
		{"long request line without an end", "GET /" + strings.Repeat("a", 17<<10), 414},
		{"long field", head("GET / HTTP/1.1", host, "X: "+strings.Repeat("a", 64<<10)), 431},
		{"long field without an end", "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 65<<10), 431},
		{"many fields", head("GET / HTTP/1.1", host+strings.Repeat("\r\na: b", 256)), 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readHead(bufio.NewReader(strings.NewReader(tt.head)))
			var refused *Error
			if !errors.As(err, &refused) {
				t.Fatalf("ReadHead = %v, want an *Error", err)
			}
			if refused.Status != tt.status || refused.Detail == "" {
				t.Errorf("ReadHead = %v, want status %d", refused, tt.status)
			}
			wantReason := crossingv1.Reason_MALFORMED
			if tt.status == 414 || tt.status == 431 {
				wantReason = crossingv1.Reason_TOO_LARGE
			}
			if refused.Reason != wantReason {
				t.Errorf("reason = %v, want %v", refused.Reason, wantReason)
			}
		})
	}
}

func TestReadHeadCutOff(t *testing.T) {
	whole := accepted[0].head
	for n := range len(whole) {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := readHead(bufio.NewReader(strings.NewReader(whole[:n]))); !errors.Is(err, want) {
			t.Errorf("cut off after %d bytes: %v, want %v", n, err, want)
		}
	}
}

// sameAsNetHTTP checks that net/http reads the head as we did.
func sameAsNetHTTP(t *testing.T, raw string, got *Request) {
	t.Helper()
	want, err := http.ReadRequest(bufio.NewReaderSize(strings.NewReader(raw), len(raw)+16))
	if err != nil {
		t.Fatalf("net/http refuses what was accepted: %v\n%q", err, raw)
	}
	h := got.Head
	if h.Method != want.Method || !strings.EqualFold(h.Authority, want.Host) {
		t.Errorf("read %s %s, net/http %s %s", h.Method, h.Authority, want.Method, want.Host)
	}
	if got.Length != want.ContentLength || got.Close != want.Close {
		t.Errorf("length %d close %v, net/http %d %v", got.Length, got.Close, want.ContentLength, want.Close)
	}
	if path := want.URL.RequestURI(); !got.Proxy && h.Path != want.RequestURI || h.Scheme != want.URL.Scheme {
		t.Errorf("path %q of scheme %q, net/http %q %q", h.Path, h.Scheme, path, want.URL.Scheme)
	}
	fields := map[string][]string{}
	for _, f := range h.Fields {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		fields[name] = append(fields[name], f.Value)
	}
	for name, values := range want.Header {
		switch name {
		case "Host", "Trailer", "Expect", "Cache-Control": // taken out, or made from Pragma
			continue
		}
		if diff := cmp.Diff(values, fields[name]); diff != "" {
			t.Errorf("field %s (-net/http +ours):\n%s", name, diff)
		}
	}
}

func FuzzReadHead(f *testing.F) {
	for _, tt := range accepted {
		f.Add([]byte(tt.head))
	}
	for _, s := range []string{
		"GET / HTTP/1.1\nHost: h\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", head("GET / HTTP/1.1", "Host: h", "X: a", " b"),
		head("POST http://h:80/%41?%zz HTTP/1.1", "Host: H", "Transfer-Encoding: chunked", "Content-Length: 1"),
		head("GET /:a//b;c HTTP/1.1", "Host: [::1]:8"),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		br := bufio.NewReader(bytes.NewReader(raw))
		got, err := readHead(br)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(br)
		sameAsNetHTTP(t, string(raw[:len(raw)-len(rest)]), got)
	})
}

// A head like the one before is that one's text, if it is not long; nothing of the one
// before is in another.
func TestReadHeadAgain(t *testing.T) {
	var r Request
	read := func(head string) string {
		t.Helper()
		if err := ReadHead(bufio.NewReader(strings.NewReader(head)), &r); err != nil {
			t.Fatal(err)
		}
		return r.Head.Fields.Get("x-of")
	}
	const one = "GET / HTTP/1.1\r\nHost: h\r\nX-Of: one\r\n\r\n"
	first := read(one)
	if again := read(one); unsafe.StringData(again) != unsafe.StringData(first) {
		t.Error("the same head is another text")
	}
	if two := read(strings.Replace(one, "one", "two", 1)); two != "two" {
		t.Errorf("x-of = %q, want two", two)
	}
	read("GET / HTTP/1.1\r\nHost: h\r\nX-Of: " + strings.Repeat("x", keptText) + "\r\n\r\n")
	if len(r.text) > keptText {
		t.Errorf("%d bytes are kept of a long head", len(r.text))
	}
}
