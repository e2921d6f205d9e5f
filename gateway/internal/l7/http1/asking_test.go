package http1

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

func asking(method string, fields ...l7.Field) *l7.RequestHead {
	return &l7.RequestHead{Method: method, Authority: "llm.azure.mesh:8000", Path: "/v1?x=1", Fields: fields}
}

func TestRequestWriter(t *testing.T) {
	const host = "host: llm.azure.mesh:8000\r\n"
	sum := l7.Fields{{Name: "x-sum", Value: "1"}, {Name: "content-length", Value: "9"}}
	for _, tt := range []struct {
		name string
		head *l7.RequestHead
		end  bool
		data []string
		want string
	}{
		{"no content", asking("GET", l7.Field{Name: "accept", Value: "*/*"}), true, nil, "GET /v1?x=1 HTTP/1.1\r\n" + host + "accept: */*\r\n\r\n"},
		{"no content where some might be", asking("POST"), true, nil, "POST /v1?x=1 HTTP/1.1\r\n" + host + "content-length: 0\r\n\r\n"},
		{"none stated", asking("PUT", l7.Field{Name: "content-length", Value: "0"}), true, nil, "PUT /v1?x=1 HTTP/1.1\r\n" + host + "content-length: 0\r\n\r\n"},
		{
			"counted", asking("POST", l7.Field{Name: "content-length", Value: "5"}, l7.Field{Name: "trailer", Value: "x-sum"}), false,
			[]string{"he", "", "llo"},
			"POST /v1?x=1 HTTP/1.1\r\n" + host + "content-length: 5\r\n\r\nhello",
		},
		{
			"chunked", asking("POST", l7.Field{Name: "trailer", Value: "X-Sum, authorization,x-b, content-length, a b"}), false,
			[]string{"hello", "", "0123456789"},
			"POST /v1?x=1 HTTP/1.1\r\n" + host + "trailer: x-sum, x-b\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n",
		},
		{
			"fields of the other connection",
			asking("GET", l7.Field{Name: "connection", Value: "x-mine"}, l7.Field{Name: "x-mine", Value: "1"}, l7.Field{Name: "keep-alive", Value: "5"},
				l7.Field{Name: "upgrade", Value: "h2c"}, l7.Field{Name: "expect", Value: "100-continue"}, l7.Field{Name: "te", Value: "gzip, trailers"}),
			true, nil,
			"GET /v1?x=1 HTTP/1.1\r\n" + host + "te: trailers\r\n\r\n",
		},
		{"asterisk", &l7.RequestHead{Method: "OPTIONS", Authority: "h", Path: "*"}, true, nil, "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w recorder
			var r RequestWriter
			r.Reset(&w)
			err := r.WriteHead(tt.head, tt.end)
			for _, d := range tt.data {
				_, werr := r.Write([]byte(d))
				err = errors.Join(err, werr)
			}
			if !tt.end {
				err = errors.Join(err, r.End(sum))
			}
			err = errors.Join(err, r.Flush())
			if err != nil || !r.Whole() {
				t.Fatalf("%v, whole %t", err, r.Whole())
			}
			if diff := cmp.Diff([]string{tt.want}, w.writes); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			back := new(Request)
			if err := ReadHead(bufio.NewReader(strings.NewReader(w.all())), back); err != nil {
				t.Errorf("our own reader refuses it: %v", err)
			}
			theirs, err := http.ReadRequest(bufio.NewReader(strings.NewReader(w.all())))
			if err != nil {
				t.Fatalf("net/http refuses it: %v", err)
			}
			if content, err := io.ReadAll(theirs.Body); err != nil || string(content) != strings.Join(tt.data, "") {
				t.Errorf("net/http reads %q, %v", content, err)
			}
		})
	}
}

// What is flushed has gone, and what is too much to be held goes by itself.
func TestRequestWriterFlush(t *testing.T) {
	var w recorder
	var r RequestWriter
	r.Reset(&w)
	err := errors.Join(r.WriteHead(asking("POST"), false), r.Flush(), r.Flush())
	if err != nil || len(w.writes) != 1 || !strings.HasSuffix(w.writes[0], "\r\n\r\n") || r.Whole() {
		t.Fatalf("wrote %q, %v, whole %t", w.writes, err, r.Whole())
	}
	content := strings.Repeat("x", 200<<10)
	if n, err := r.Write([]byte(content)); n != len(content) || err != nil || len(w.writes) != 2 {
		t.Fatalf("Write = %d, %v in %d writes", n, err, len(w.writes)-1)
	}
	if err := errors.Join(r.End(nil), r.Flush()); err != nil || !r.Whole() {
		t.Fatal(err)
	}
	theirs, err := http.ReadRequest(bufio.NewReader(strings.NewReader(w.all())))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(theirs.Body); err != nil || string(got) != content {
		t.Errorf("net/http reads %d bytes, %v", len(got), err)
	}
}

// Counted content is whole with its last byte: nobody can tell its end from it.
func TestRequestWholeBeforeItsEnd(t *testing.T) {
	var w recorder
	var r RequestWriter
	r.Reset(&w)
	err := errors.Join(r.WriteHead(asking("POST", l7.Field{Name: "content-length", Value: "5"}), false), last(r.Write([]byte("hello"))))
	if err != nil || r.Whole() {
		t.Fatalf("%v, whole %t while it is held", err, r.Whole())
	}
	if err := r.Flush(); err != nil || !r.Whole() {
		t.Errorf("%v, whole %t", err, r.Whole())
	}
	if _, err := r.Write([]byte("x")); !errors.Is(err, ErrTooLong) || r.Whole() {
		t.Errorf("more than it says: %v, whole %t", err, r.Whole())
	}
}

func TestRequestWriterRules(t *testing.T) {
	five := func(method string) *l7.RequestHead {
		return asking(method, l7.Field{Name: "content-length", Value: "5"})
	}
	for _, tt := range []struct {
		name string
		do   func(*RequestWriter) error
		want error // nil for any
	}{
		{"content before the head", func(r *RequestWriter) error { return last(r.Write([]byte("x"))) }, ErrNoHead},
		{"end before the head", func(r *RequestWriter) error { return r.End(nil) }, ErrNoHead},
		{"two heads", func(r *RequestWriter) error {
			return errors.Join(r.WriteHead(five("POST"), false), r.WriteHead(five("POST"), false))
		}, ErrHeadTwo},
		{"content after the end", func(r *RequestWriter) error {
			return errors.Join(r.WriteHead(asking("GET"), true), last(r.Write([]byte("x"))))
		}, ErrOver},
		{"too short", func(r *RequestWriter) error {
			return errors.Join(r.WriteHead(five("POST"), false), last(r.Write([]byte("x"))), r.End(nil))
		}, ErrTooShort},
		{"length but no content", func(r *RequestWriter) error { return r.WriteHead(five("POST"), true) }, ErrTooShort},
		{"CONNECT", func(r *RequestWriter) error {
			return r.WriteHead(&l7.RequestHead{Method: "CONNECT", Authority: "h:1"}, false)
		}, ErrForm},
		{"split by a value", func(r *RequestWriter) error {
			return r.WriteHead(asking("GET", l7.Field{Name: "a", Value: "b\r\nc: d"}), true)
		}, nil},
		{"split by the path", func(r *RequestWriter) error {
			return r.WriteHead(&l7.RequestHead{Method: "GET", Authority: "h", Path: "/ HTTP/1.1\r\na: b"}, true)
		}, nil},
		{"split by a trailer", func(r *RequestWriter) error {
			return errors.Join(r.WriteHead(asking("POST"), false), r.End(l7.Fields{{Name: "a", Value: "b\nc"}}))
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w recorder
			var r RequestWriter
			r.Reset(&w)
			if err := tt.do(&r); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if strings.HasPrefix(tt.name, "split") && len(w.writes) > 0 {
				t.Errorf("wrote %q", w.writes)
			}
		})
	}
}

// failing fails its first Write, of which nothing gets through.
type failing struct{ recorder }

func (f *failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A request of which nothing was written can go elsewhere, as it is.
func TestRequestGoesElsewhere(t *testing.T) {
	var w recorder
	var r RequestWriter
	r.Reset(new(failing))
	err := errors.Join(r.WriteHead(asking("POST", l7.Field{Name: "content-length", Value: "5"}), false), last(r.Write([]byte("hello"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.End(nil), r.Flush()); !errors.Is(err, io.ErrClosedPipe) || r.Whole() {
		t.Fatalf("Flush = %v, whole %t", err, r.Whole())
	}
	r.Redirect(&w)
	if err := r.Flush(); err != nil || !r.Whole() || len(w.writes) != 1 || !strings.HasSuffix(w.all(), "\r\n\r\nhello") {
		t.Errorf("Flush = %v, whole %t, wrote %q", err, r.Whole(), w.writes)
	}
}
