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

// recorder keeps each Write apart.
type recorder struct {
	writes []string
	closed bool
}

func (r *recorder) Write(p []byte) (int, error) {
	r.writes = append(r.writes, string(p))
	return len(p), nil
}
func (r *recorder) CloseWrite() error { r.closed = true; return nil }
func (r *recorder) all() string       { return strings.Join(r.writes, "") }

func request(method string) *Request { return &Request{Head: l7.RequestHead{Method: method}} }

func TestResponse(t *testing.T) {
	length := func(n string) l7.Fields { return l7.Fields{{Name: "content-length", Value: n}} }
	for _, tt := range []struct {
		name    string
		method  string
		closing bool
		head    l7.ResponseHead
		end     bool
		data    []string
		want    string
	}{
		{
			"counted", "GET", false,
			l7.ResponseHead{Status: 200, Fields: length("5")},
			false,
			[]string{"he", "llo"},
			"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
		},
		{
			"chunked", "GET", false,
			l7.ResponseHead{Status: 200},
			false,
			[]string{"hello", "", "0123456789"},
			"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n",
		},
		{
			"closing", "GET", true,
			l7.ResponseHead{Status: 404},
			true, nil,
			"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
		},
		{
			"head", "HEAD", false,
			l7.ResponseHead{Status: 200, Fields: length("5")},
			false,
			[]string{"hello"},
			"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
		},
		{
			"204", "GET", false,
			l7.ResponseHead{Status: 204, Fields: length("0")},
			false, nil,
			"HTTP/1.1 204 No Content\r\n\r\n",
		},
		{
			"304", "GET", false,
			l7.ResponseHead{Status: 304, Fields: length("5")},
			true, nil,
			"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
		},
		{
			"fields of the other connection", "GET", false,
			l7.ResponseHead{Status: 799, Fields: l7.Fields{
				{Name: "connection", Value: "x-mine"},
				{Name: "x-mine", Value: "1"},
				{Name: "transfer-encoding", Value: "chunked"},
				{Name: "keep-alive", Value: "5"},
				{Name: "x", Value: "y"},
			}},
			true, nil,
			"HTTP/1.1 799 Status\r\nx: y\r\ncontent-length: 0\r\n\r\n",
		},
		{
			"connect", "CONNECT", false,
			l7.ResponseHead{Status: 200, Fields: length("5")},
			false,
			[]string{"raw"},
			"HTTP/1.1 200 OK\r\n\r\nraw",
		},
		{
			"connect refused", "CONNECT", false,
			l7.ResponseHead{Status: 403, Fields: length("2")},
			false,
			[]string{"no"},
			"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w recorder
			r := NewResponse(&w, request(tt.method), tt.closing)
			if err := r.WriteHead(&tt.head, tt.end); err != nil {
				t.Fatal(err)
			}
			for _, d := range tt.data {
				if n, err := r.Write([]byte(d)); n != len(d) || err != nil {
					t.Fatalf("Write(%q) = %d, %v", d, n, err)
				}
			}
			if !tt.end {
				if err := r.End(l7.Fields{{Name: "x-sum", Value: "1"}, {Name: "content-length", Value: "9"}}); err != nil {
					t.Fatal(err)
				}
			}
			if w.all() != tt.want || !r.Whole() {
				t.Errorf("wrote %q, whole %v, want %q", w.all(), r.Whole(), tt.want)
			}
			if accepted := tt.method == "CONNECT" && tt.head.Status == 200; w.closed != accepted {
				t.Errorf("closed for writing: %v, want %v", w.closed, accepted)
			}
			if tt.method != "CONNECT" {
				readByNetHTTP(t, tt.method, w.all())
			}
		})
	}
}

func readByNetHTTP(t *testing.T, method, raw string) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(raw + "HTTP/1.1 200 next"))
	r, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("net/http refuses the answer: %v", err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Errorf("net/http reads the content: %v", err)
	}
	if rest, _ := io.ReadAll(br); string(rest) != "HTTP/1.1 200 next" {
		t.Errorf("net/http leaves %q", rest)
	}
}

// Every piece is on its way before the next is there: one Write each. The head
// alone waits for what follows.
func TestResponseHoldsTheHeadAlone(t *testing.T) {
	const headOnly = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
	for _, flushed := range []bool{false, true} {
		var w recorder
		r := NewResponse(&w, request("GET"), false)
		if err := r.WriteHead(&l7.ResponseHead{Status: 200}, false); err != nil || len(w.writes) > 0 {
			t.Fatalf("WriteHead = %v, wrote %q, want nothing", err, w.writes)
		}
		want := []string{headOnly + "9\r\ndata: 1\n\n\r\n", "9\r\ndata: 2\n\n\r\n", "0\r\n\r\n"}
		if flushed {
			want = append([]string{headOnly, "9\r\ndata: 1\n\n\r\n"}, want[1:]...)
			if err := errors.Join(r.Flush(), r.Flush()); err != nil {
				t.Fatal(err)
			}
		}
		for i, piece := range []string{"data: 1\n\n", "data: 2\n\n"} {
			if _, err := r.Write([]byte(piece)); err != nil || len(w.writes) != len(want)-2+i {
				t.Fatalf("after piece %d: %q, %v", i, w.writes, err)
			}
		}
		if err := r.End(nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.writes); diff != "" {
			t.Errorf("flushed %t, writes (-want +got):\n%s", flushed, diff)
		}
	}
}

// A short answer is one Write, whatever its coding has to say at the end.
func TestShortAnswerIsOneWrite(t *testing.T) {
	counted := &l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "5"}}}
	for _, tt := range []struct {
		name   string
		method string
		head   *l7.ResponseHead
		data   string
		want   int
	}{
		{"counted", "GET", counted, "hello", 1},
		{"none", "HEAD", counted, "hello", 1},
		{"chunked without content", "GET", &l7.ResponseHead{Status: 200}, "", 1},
		{"longer than is joined", "GET", &l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "65537"}}}, strings.Repeat("x", 64<<10+1), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w recorder
			r := NewResponse(&w, request(tt.method), false)
			n, werr := 0, r.WriteHead(tt.head, false)
			if tt.data != "" {
				n, werr = r.Write([]byte(tt.data))
			}
			if err := errors.Join(werr, r.End(nil)); err != nil || n != len(tt.data) || len(w.writes) != tt.want {
				t.Errorf("took %d, %v, in %d writes, want %d", n, err, len(w.writes), tt.want)
			}
		})
	}
}

func TestResponseRules(t *testing.T) {
	five := &l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "5"}}}
	for _, tt := range []struct {
		name string
		do   func(*Response) error
		want error
	}{
		{"data before the head", func(r *Response) error { _, err := r.Write([]byte("x")); return err }, ErrNoHead},
		{"end before the head", func(r *Response) error { return r.End(nil) }, ErrNoHead},
		{"two heads", func(r *Response) error { return errors.Join(r.WriteHead(five, false), r.WriteHead(five, false)) }, ErrHeadTwo},
		{"too long", func(r *Response) error {
			_, err := r.Write([]byte("123456"))
			return errors.Join(r.WriteHead(five, false), err, last(r.Write([]byte("123456"))))
		}, ErrTooLong},
		{"too short", func(r *Response) error { return errors.Join(r.WriteHead(five, false), r.End(nil)) }, ErrTooShort},
		{"length but no content", func(r *Response) error { return r.WriteHead(five, true) }, ErrTooShort},
		{"after an abort", func(r *Response) error {
			r.Abort()
			return last(r.Write(nil))
		}, ErrOver},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewResponse(&recorder{}, request("GET"), false)
			if err := tt.do(r); !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if r.Whole() {
				t.Error("the answer passes for whole")
			}
		})
	}
}

func last(_ int, err error) error { return err }

func TestResponseRefusesToSplit(t *testing.T) {
	for _, f := range []l7.Field{
		{Name: "x", Value: "a\r\nset-cookie: b"},
		{Name: "x\r\ny", Value: "a"},
		{Name: "x y", Value: "a"},
		{Name: "", Value: "a"},
	} {
		var w recorder
		r := NewResponse(&w, request("GET"), false)
		if err := r.WriteHead(&l7.ResponseHead{Status: 200, Fields: l7.Fields{f}}, true); err == nil || len(w.writes) > 0 {
			t.Errorf("field %q: error %v, wrote %q, want nothing", f, err, w.writes)
		}
	}
}

func TestContinue(t *testing.T) {
	expecting := &Request{Head: l7.RequestHead{Method: "POST"}, Length: 5, Continue: true}
	const interim = "HTTP/1.1 100 Continue\r\n\r\n"

	var w recorder
	r := NewResponse(&w, expecting, false)
	if err := errors.Join(r.Continue(), r.Continue(), r.WriteHead(&l7.ResponseHead{Status: 204}, true)); err != nil {
		t.Fatal(err)
	}
	if want := interim + "HTTP/1.1 204 No Content\r\n\r\n"; w.all() != want || r.Closing() {
		t.Errorf("wrote %q closing %v, want %q", w.all(), r.Closing(), want)
	}

	w = recorder{}
	r = NewResponse(&w, expecting, false)
	if err := errors.Join(r.WriteHead(&l7.ResponseHead{Status: 204}, true), r.Continue()); err != nil {
		t.Fatal(err)
	}
	if want := "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"; w.all() != want || !r.Closing() {
		t.Errorf("answered before its content: wrote %q, want %q", w.all(), want)
	}
}
