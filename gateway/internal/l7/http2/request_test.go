package http2

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Heads as they are given out: as HTTP/1.1 would have them.
func TestRequestHeads(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fields []string
		want   l7.RequestHead
	}{
		{"plain", []string{"+"}, l7.RequestHead{Method: "GET", Authority: "h", Path: "/"}},
		{"scheme of another", []string{":method=GET", ":scheme=https", ":authority=h", ":path=/"}, l7.RequestHead{Method: "GET", Scheme: "https", Authority: "h", Path: "/"}},
		{"host alone", []string{":method=GET", ":scheme=http", ":path=/", "host=h"}, l7.RequestHead{Method: "GET", Authority: "h", Path: "/"}},
		{"the same host", []string{"+", "host=H"}, l7.RequestHead{Method: "GET", Authority: "h", Path: "/"}},
		{"asterisk", []string{":method=OPTIONS", ":scheme=http", ":path=*", ":authority=h"}, l7.RequestHead{Method: "OPTIONS", Authority: "h", Path: "*"}},
		{"connect", []string{":method=CONNECT", ":authority=h:1"}, l7.RequestHead{Method: "CONNECT", Authority: "h:1"}},
		{"fields in order", []string{"+", "b=1", "a=2", "b=3", "te=trailers"}, l7.RequestHead{Method: "GET", Authority: "h", Path: "/", Fields: l7.Fields{
			{Name: "b", Value: "1"}, {Name: "a", Value: "2"}, {Name: "b", Value: "3"}, {Name: "te", Value: "trailers"},
		}}},
		{"cookie crumbs", []string{"+", "cookie=a=1", "x=y", "cookie=b=2", "cookie=c=3"}, l7.RequestHead{Method: "GET", Authority: "h", Path: "/", Fields: l7.Fields{
			{Name: "cookie", Value: "a=1; b=2; c=3"}, {Name: "x", Value: "y"},
		}}},
		{"expect", []string{"+", "expect=100-continue"}, l7.RequestHead{Method: "GET", Authority: "h", Path: "/"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got l7.RequestHead
			against(t, Config{}, func(s *Stream) { got = *s.Request(); greet(s) }, func(p *peer) {
				p.head(1, true, tt.fields...)
				p.take()
			})
			if len(got.Fields) == 0 {
				got.Fields = nil
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("head = %#v, want %#v", got, tt.want)
			}
		})
	}
}

// What is refused, with an answer; malformed ones (RFC 9113 8.1.1) are reset
// after it.
func TestRefusedHeads(t *testing.T) {
	many := []string{"+"}
	for i := range l7.MaxFields + 1 {
		many = append(many, fmt.Sprintf("x%d=y", i))
	}
	for _, tt := range []struct {
		name   string
		fields []string
		status int
		reset  bool
	}{
		{"no method", []string{":scheme=http", ":path=/", ":authority=h"}, 400, true},
		{"no scheme", []string{":method=GET", ":path=/", ":authority=h"}, 400, true},
		{"no path", []string{":method=GET", ":scheme=http", ":authority=h"}, 400, true},
		{"empty path", []string{":method=GET", ":scheme=http", ":authority=h", ":path="}, 400, true},
		{"a method twice", []string{"+", ":method=GET"}, 400, true},
		{"status", []string{"+", ":status=200"}, 400, true},
		{"protocol", []string{"+", ":protocol=websocket"}, 400, true},
		{"pseudo-header last", []string{":method=GET", ":scheme=http", ":authority=h", "x=y", ":path=/"}, 400, true},
		{"connect with a path", []string{":method=CONNECT", ":authority=h:1", ":path=/"}, 400, true},
		{"connect with a scheme", []string{":method=CONNECT", ":authority=h:1", ":scheme=http"}, 400, true},
		{"connect with a length", []string{":method=CONNECT", ":authority=h:1", "content-length=0"}, 400, true},
		{"connect without a port", []string{":method=CONNECT", ":authority=h"}, 400, false},
		{"connection", []string{"+", "connection=close"}, 400, true},
		{"transfer-encoding", []string{"+", "transfer-encoding=chunked"}, 400, true},
		{"upgrade", []string{"+", "upgrade=h2c"}, 400, true},
		{"te", []string{"+", "te=gzip"}, 400, true},
		{"upper case", []string{"+", "X=y"}, 400, true},
		{"a space in a name", []string{"+", "x y=z"}, 400, true},
		{"a line break in a value", []string{"+", "x=a\r\nb"}, 400, true},
		{"outer space", []string{"+", "x= y"}, 400, true},
		{"another host", []string{"+", "host=other"}, 400, true},
		{"two hosts", []string{"+", "host=h", "host=h"}, 400, true},
		{"two lengths", []string{"+", "content-length=0", "content-length=0"}, 400, true},
		{"a length that is none", []string{"+", "content-length=-1"}, 400, true},
		{"a length of nothing", []string{"+", "content-length=1"}, 400, true},
		{"no authority", []string{":method=GET", ":scheme=http", ":path=/"}, 400, false},
		{"user", []string{":method=GET", ":scheme=http", ":path=/", ":authority=u@h"}, 400, false},
		{"dot segments", []string{":method=GET", ":scheme=http", ":authority=h", ":path=/a/%2e%2e/b"}, 400, false},
		{"another scheme", []string{":method=GET", ":scheme=ftp", ":authority=h", ":path=/"}, 400, false},
		{"expectation", []string{"+", "expect=tea"}, 417, false},
		{"announced framing", []string{"+", "trailer=Content-Length"}, 400, false},
		{"many fields", many, 431, false},
		{"long head", []string{"+", "x=" + strings.Repeat("y", l7.MaxHeadBytes)}, 431, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			refuse := func(h *l7.RequestHead, r fieldblock.Refusal) (*l7.ResponseHead, []byte) {
				asked = append(asked, fmt.Sprintf("%d %s", r.Status, r.Reason))
				return &l7.ResponseHead{Status: r.Status, Fields: l7.Fields{{Name: "content-length", Value: "2"}}}, []byte("no")
			}
			served := false
			against(t, Config{Refuse: refuse}, func(*Stream) { served = true }, func(p *peer) {
				p.longHead(1, true, tt.fields...)
				want := []string{fmt.Sprintf("HEADERS 1 :status=%d content-length=2", tt.status), `DATA 1 "no" END`}
				if tt.reset {
					want = append(want, "RST_STREAM 1 PROTOCOL_ERROR")
				}
				p.want(want...)
				p.head(3, false, "+") // the table is as it should be
				p.want("RST_STREAM 3 INTERNAL_ERROR")
				if p.over() || !served || len(p.told()) > 0 {
					t.Errorf("over %v, served %v, told of %q", p.over(), served, p.told())
				}
			})
			reason := crossingv1.Reason_MALFORMED
			if tt.status == 431 {
				reason = crossingv1.Reason_TOO_LARGE
			}
			if want := fmt.Sprintf("%d %s", tt.status, reason); len(asked) != 1 || asked[0] != want {
				t.Errorf("Refuse was asked of %q, want %q", asked, want)
			}
		})
	}
}

// longHead sends a head in as many frames as it takes.
func (p *peer) longHead(stream uint32, end bool, fields ...string) {
	block := string(p.encode(fields...))
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	for k := kindHeaders; ; k = kindContinuation {
		n := min(len(block), frameSize)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		p.raw(k, flags, stream, block[:n])
		if block = block[n:]; block == "" {
			return
		}
		flags = 0
	}
}

// A request that is refused before its content has come: the content is not
// wanted, and the stream is over.
func TestRefusedBeforeContent(t *testing.T) {
	against(t, Config{Refuse: refuseAll}, greet, func(p *peer) {
		p.head(1, false, "+", ":path=/")
		p.want("HEADERS 1 :status=400", `DATA 1 "a pseudo-header twice" END`, "RST_STREAM 1 PROTOCOL_ERROR")
		p.data(1, true, "x")
		p.want()
		p.head(3, false, ":method=GET", ":scheme=http", ":authority=h", ":path=/..")
		p.want("HEADERS 3 :status=400", `DATA 3 "path \"/..\" has a dot segment" END`, "RST_STREAM 3 NO_ERROR")
	})
}

// Where nobody answers, a refused request is reset and told of.
func TestRefusedByNobody(t *testing.T) {
	against(t, Config{}, greet, func(p *peer) {
		p.head(1, true, "+", "te=gzip")
		p.want("RST_STREAM 1 PROTOCOL_ERROR")
		if len(p.told()) != 1 || p.conn.Streams() != 0 {
			t.Errorf("told of %q, %d streams", p.told(), p.conn.Streams())
		}
	})
}

// The caller is asked for content only when somebody wants to read it, and it has
// not come by itself.
func TestContinue(t *testing.T) {
	against(t, Config{}, greet, func(p *peer) {
		p.head(1, false, "+", "expect=100-continue")
		p.want("HEADERS 1 :status=100")
		p.data(1, true, "x")
		p.want("HEADERS 1 :status=200 content-length=12", `DATA 1 "hello, world" END`)
	})
	against(t, Config{}, func(s *Stream) { _ = s.WriteHead(&l7.ResponseHead{Status: 413}, true) }, func(p *peer) {
		p.head(1, false, "+", "expect=100-continue")
		p.want("HEADERS 1 :status=413 END", "RST_STREAM 1 NO_ERROR")
	})
}

// What has come before a request is served can be read without waiting.
func TestReady(t *testing.T) {
	type seen struct {
		ended, ready bool
		buffered     int
	}
	var got chan seen
	serve := func(s *Stream) {
		got <- seen{s.Ended(), s.Ready(), s.Buffered()}
		greet(s)
	}
	against(t, Config{}, serve, func(p *peer) {
		got = make(chan seen, 1)
		p.head(1, true, "+")
		if p.take(); <-got != (seen{true, true, 0}) {
			t.Error("a head alone is not ready")
		}
		p.head(3, false, "+")
		if p.take(); <-got != (seen{}) {
			t.Error("a head without its content is ready")
		}
		p.data(3, true, "")
		var both strings.Builder // as one write, which is read as one
		p.fr = framerTo(&both)
		p.head(5, false, "+")
		p.data(5, true, "abc")
		p.send("both", func() error { _, err := io.WriteString(p.nc, both.String()); return err })
		if p.take(); <-got != (seen{false, true, 3}) {
			t.Error("a request that is whole is not ready")
		}
	})
}
