package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// answers are heads of every form, with the method that was asked by.
var answers = []struct {
	name, method, head string
	want               Answer
}{
	{
		"counted", "GET", head("HTTP/1.1 200 OK", "Content-Length: 5", "X-Empty:"),
		Answer{Length: 5, Head: l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "5"}, {Name: "x-empty", Value: ""}}}},
	},
	{
		"chunked", "GET", head("HTTP/1.1 201 ", "transfer-encoding: Chunked"),
		Answer{Length: Chunked, Head: l7.ResponseHead{Status: 201, Fields: l7.Fields{}}},
	},
	{
		"until close", "GET", head("HTTP/1.1 200 OK", "a: b"),
		Answer{Length: UntilClose, Close: true, Head: l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "a", Value: "b"}}}},
	},
	{
		"no reason and no fields", "POST", head("HTTP/1.1 404"),
		Answer{Length: UntilClose, Close: true, Head: l7.ResponseHead{Status: 404}},
	},
	{
		"closing", "GET", head("HTTP/1.1 200 OK", "Content-Length: 0", "Connection: x, Close"),
		Answer{Close: true, Head: l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "0"}, {Name: "connection", Value: "x, Close"}}}},
	},
	{
		"to a HEAD", "HEAD", head("HTTP/1.1 200 OK", "Content-Length: 5"),
		Answer{Head: l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "5"}}}},
	},
	{
		"chunked to a HEAD", "HEAD", head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"),
		Answer{Head: l7.ResponseHead{Status: 200, Fields: l7.Fields{}}},
	},
	{"204", "GET", head("HTTP/1.1 204 No Content"), Answer{Head: l7.ResponseHead{Status: 204}}},
	{
		"304", "GET", head("HTTP/1.1 304 Not Modified", "Content-Length: 5"),
		Answer{Head: l7.ResponseHead{Status: 304, Fields: l7.Fields{{Name: "content-length", Value: "5"}}}},
	},
	{
		"HTTP/1.0", "GET", head("HTTP/1.0 200 OK", "Content-Length: 5", "Connection: keep-alive"),
		Answer{Length: 5, Close: true, Head: l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "5"}, {Name: "connection", Value: "keep-alive"}}}},
	},
	{
		"after interim answers", "GET", head("HTTP/1.1 100 Continue") + head("HTTP/1.1 103 Early Hints", "Link: x") + head("HTTP/1.1 200 OK", "Content-Length: 5"),
		Answer{Length: 5, Head: l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "5"}}}},
	},
}

func TestReadResponse(t *testing.T) {
	a := new(Answer)
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			const next = "what follows"
			br := bufio.NewReader(iotest.HalfReader(strings.NewReader(tt.head + next)))
			if err := ReadResponse(br, tt.method, a); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, a, cmp.Transformer("empty", func(f l7.Fields) string { return fmt.Sprint(f) }), cmpopts.IgnoreUnexported(Answer{})); diff != "" {
				t.Errorf("ReadResponse (-want +got):\n%s", diff)
			}
			if rest, _ := io.ReadAll(br); string(rest) != next {
				t.Errorf("left to read: %q, want %q", rest, next)
			}
		})
	}
}

func TestReadResponseRefuses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK"
	for _, tt := range []struct{ name, head string }{
		{"bare LF after the status line", "HTTP/1.1 200 OK\nA: b\r\n\r\n"},
		{"bare LF after a field", "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n"},
		{"bare LF at the end", "HTTP/1.1 200 OK\r\nA: b\r\n\n"},
		{"empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n"},
		{"obs-fold", head(ok, "A: b", " c")},
		{"space before the colon", head(ok, "Content-Length : 5")},
		{"control character in a value", head(ok, "A: b\x01")},
		{"bare CR in a value", head(ok, "A: b\rC: d")},
		{"control character in the reason", head("HTTP/1.1 200 O\x00K")},
		{"bare CR in the reason", head("HTTP/1.1 200 O\rK")},
		{"no colon", head(ok, "abc")},
		{"not HTTP", head("SSH-2.0-OpenSSH_9.6")},
		{"HTTP/2", head("HTTP/2.0 200 OK")},
		{"lower case", head("http/1.1 200 OK")},
		{"no status", head("HTTP/1.1")},
		{"two digits", head("HTTP/1.1 20 OK")},
		{"four digits", head("HTTP/1.1 2000 OK")},
		{"sign", head("HTTP/1.1 +20 OK")},
		{"two spaces", head("HTTP/1.1  200 OK")},
		{"status 099", head("HTTP/1.1 099 OK")},
		{"status 600", head("HTTP/1.1 600 OK")},
		{"both lengths", head(ok, "Content-Length: 5", "Transfer-Encoding: chunked")},
		{"two lengths", head(ok, "Content-Length: 5", "Content-Length: 5")},
		{"list of lengths", head(ok, "Content-Length: 5, 5")},
		{"signed length", head(ok, "Content-Length: +5")},
		{"another coding", head(ok, "Transfer-Encoding: gzip, chunked")},
		{"coding twice", head(ok, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")},
		{"coding in HTTP/1.0", head("HTTP/1.0 200 OK", "Transfer-Encoding: chunked")},
		{"coding of a 204", head("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked")},
		{"length of a 204", head("HTTP/1.1 204 No Content", "Content-Length: 5")},
		{"content of an interim answer", head("HTTP/1.1 100 Continue", "Content-Length: 5") + "hello" + head(ok)},
		{"another protocol", head("HTTP/1.1 101 Switching Protocols", "Upgrade: x")},
		{"trailer that frames", head(ok, "Transfer-Encoding: chunked", "Trailer: Content-Length")},
		{"interim answers without end", strings.Repeat(head("HTTP/1.1 100 Continue"), maxInterim+1) + head(ok)},
		{"too large", head(ok, "A: "+strings.Repeat("b", 64<<10))},
		{"too many fields", head(ok + strings.Repeat("\r\na: b", 257))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := ReadResponse(bufio.NewReader(strings.NewReader(tt.head)), "GET", new(Answer))
			refused, _ := errors.AsType[*Error](err)
			if refused == nil || refused.Status != 502 || refused.Detail == "" {
				t.Fatalf("ReadResponse = %v, want an *Error of status 502", err)
			}
			if tooLarge := strings.HasPrefix(tt.name, "too "); tooLarge != (refused.Reason == crossingv1.Reason_TOO_LARGE) {
				t.Errorf("reason %v", refused.Reason)
			}
		})
	}
}

func TestReadResponseCutOff(t *testing.T) {
	whole := answers[0].head
	for n := range len(whole) {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if err := ReadResponse(bufio.NewReader(strings.NewReader(whole[:n])), "GET", new(Answer)); !errors.Is(err, want) {
			t.Errorf("cut off after %d bytes: %v, want %v", n, err, want)
		}
	}
}

// What is accepted as an answer, net/http reads as the same one, with the same
// content, and leaves the same bytes for the next.
func FuzzReadResponse(f *testing.F) {
	for _, tt := range answers {
		f.Add(tt.method, []byte(tt.head+"5\r\nhello\r\n0\r\nx: y\r\n\r\n"))
	}
	f.Add("GET", []byte(head("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked")+"hello"))
	f.Add("GET", []byte("HTTP/1.1 200 OK\nContent-Length : 5\r\n\r\nhello"))
	f.Fuzz(func(t *testing.T, method string, raw []byte) {
		if !slices.Contains([]string{"GET", "HEAD", "POST"}, method) {
			return
		}
		br := bufio.NewReader(bytes.NewReader(raw))
		a, trailers := new(Answer), l7.Fields{}
		if ReadResponse(br, method, a) != nil {
			return
		}
		got, err := io.ReadAll(NewBody(br, a.Length, &trailers))
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(br)
		sameAnswerByNetHTTP(t, method, raw, a, got, rest)
	})
}

func sameAnswerByNetHTTP(t *testing.T, method string, raw []byte, a *Answer, content, rest []byte) {
	t.Helper()
	theirs := bufio.NewReaderSize(bytes.NewReader(raw), len(raw)+16)
	var want *http.Response
	for want == nil || want.StatusCode < 200 {
		var err error
		if want, err = http.ReadResponse(theirs, &http.Request{Method: method}); err != nil {
			t.Fatalf("net/http refuses what was accepted: %v\n%q", err, raw)
		}
	}
	body, err := io.ReadAll(want.Body)
	if err != nil || !bytes.Equal(body, content) {
		t.Fatalf("read %q, net/http %q and %v", content, body, err)
	}
	if theirRest, _ := io.ReadAll(theirs); !bytes.Equal(rest, theirRest) {
		t.Errorf("left %q, net/http %q", rest, theirRest)
	}
	if a.Head.Status != want.StatusCode || want.Close && !a.Close {
		t.Errorf("status %d close %t, net/http %d %t", a.Head.Status, a.Close, want.StatusCode, want.Close)
	}
	fields := map[string][]string{}
	for _, f := range a.Head.Fields {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		fields[name] = append(fields[name], f.Value)
	}
	for name, values := range want.Header {
		switch name {
		case "Trailer", "Cache-Control", "Connection": // taken out, or made from Pragma
			continue
		}
		if diff := cmp.Diff(values, fields[name]); diff != "" {
			t.Errorf("field %s (-net/http +ours):\n%s", name, diff)
		}
	}
}

// TestAnswersOneAfterAnother: what is used again of an answer is not seen in another
// one, and its texts stay what they were.
func TestAnswersOneAfterAnother(t *testing.T) {
	var a Answer
	read := func(fields ...string) l7.Fields {
		raw := head(append([]string{"HTTP/1.1 200 OK"}, fields...)...)
		if err := ReadResponse(bufio.NewReader(strings.NewReader(raw)), "GET", &a); err != nil {
			t.Fatal(err)
		}
		return a.Head.Fields
	}
	first := read("X-Of: one", "Content-Length: 1")
	text := first.Get("x-of")
	for range 2 {
		if again := read("X-Of: one", "Content-Length: 1"); again.Get("x-of") != "one" || a.Length != 1 {
			t.Errorf("the same again is %v", again)
		}
	}
	if other := read("X-Of: two", "Content-Length: 2"); other.Get("x-of") != "two" || a.Length != 2 || text != "one" {
		t.Errorf("another one is %v, and the first was of %q", other, text)
	}
	read("X-Of: " + strings.Repeat("x", keptRows))
	if len(a.rows) > keptRows {
		t.Errorf("%d bytes are kept", len(a.rows))
	}
}
