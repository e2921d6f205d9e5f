package http2

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

func framerTo(w io.Writer) *http2.Framer {
	fr := http2.NewFramer(w, nil)
	fr.AllowIllegalWrites = true
	return fr
}

func ok200(fields ...l7.Field) *l7.ResponseHead { return &l7.ResponseHead{Status: 200, Fields: fields} }

// An answer takes as few frames and writes as it can.
func TestFramesAndWrites(t *testing.T) {
	length := l7.Field{Name: "content-length", Value: "5"}
	for _, tt := range []struct {
		name   string
		serve  func(s *Stream)
		writes int
		want   []string
	}{
		{"head alone", func(s *Stream) {
			_ = s.WriteHead(ok200(l7.Field{Name: "grpc-status", Value: "7"}), true)
		}, 1, []string{"HEADERS 1 :status=200 grpc-status=7 END"}},
		{"head, then nothing", func(s *Stream) {
			_ = s.WriteHead(ok200(), false)
			_ = s.End(nil)
		}, 1, []string{"HEADERS 1 :status=200 END"}},
		{"declared content", func(s *Stream) {
			_ = s.WriteHead(ok200(length), false)
			_, _ = s.Write([]byte("hello"))
			_ = s.End(nil)
		}, 1, []string{"HEADERS 1 :status=200 content-length=5", `DATA 1 "hello" END`}},
		{"content", func(s *Stream) {
			_ = s.WriteHead(ok200(), false)
			_, _ = s.Write([]byte("hello"))
			_ = s.End(nil)
		}, 2, []string{"HEADERS 1 :status=200", `DATA 1 "hello"`, `DATA 1 "" END`}},
		{"content that is held", func(s *Stream) {
			_ = s.WriteHead(ok200(), false)
			_, _ = s.Hold([]byte("hello"))
			_ = s.End(nil)
		}, 1, []string{"HEADERS 1 :status=200", `DATA 1 "hello" END`}},
		{"a gRPC answer", func(s *Stream) {
			_ = s.WriteHead(ok200(), false)
			_, _ = s.Hold([]byte("hello"))
			_ = s.End(l7.Fields{{Name: "grpc-status", Value: "0"}})
		}, 1, []string{"HEADERS 1 :status=200", `DATA 1 "hello"`, "HEADERS 1 grpc-status=0 END"}},
		{"a head that is flushed", func(s *Stream) {
			_ = s.WriteHead(ok200(), false)
			_ = s.Flush()
			_ = s.End(nil)
		}, 2, []string{"HEADERS 1 :status=200", `DATA 1 "" END`}},
		{"an answer that is broken off", func(s *Stream) {
			_ = s.WriteHead(ok200(length), false)
			_, _ = s.Write([]byte("hell"))
			s.Reset(InternalError)
		}, 2, []string{"HEADERS 1 :status=200 content-length=5", `DATA 1 "hell"`, "RST_STREAM 1 INTERNAL_ERROR"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			counted := &countedConn{}
			serve := func(s *Stream) { counted.reset(); tt.serve(s) }
			bubble(t, func(p *peer) {
				p.head(1, true, "+")
				p.want(tt.want...)
				if n := counted.reset(); n != tt.writes {
					t.Errorf("%d writes, want %d", n, tt.writes)
				}
			}, func(p *peer, nc net.Conn) {
				counted.Conn = nc
				p.conn = Server(counted, counted, Config{}, serve)
				go func() { p.ended <- p.conn.Run() }()
				p.send("preface", func() error { _, err := io.WriteString(p.nc, http2.ClientPreface); return err })
			})
		})
	}
}

type countedConn struct {
	net.Conn
	mu     sync.Mutex
	writes int
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *countedConn) reset() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.writes
	c.writes = 0
	return n
}

// Uses against the rules are refused, and end nothing that looks whole.
func TestMisuse(t *testing.T) {
	length := func(n string) l7.Field { return l7.Field{Name: "content-length", Value: n} }
	for _, tt := range []struct {
		name string
		do   func(s *Stream) error
		want error
		last string
	}{
		{"no head", func(s *Stream) error { _, err := s.Write([]byte("x")); return err }, ErrNoHead, "RST_STREAM 1 INTERNAL_ERROR"},
		{"end without a head", func(s *Stream) error { return s.End(nil) }, ErrNoHead, "RST_STREAM 1 INTERNAL_ERROR"},
		{"two heads", func(s *Stream) error { _ = s.WriteHead(ok200(), false); return s.WriteHead(ok200(), true) }, ErrHeadTwice, "RST_STREAM 1 INTERNAL_ERROR"},
		{"longer than declared", func(s *Stream) error {
			_ = s.WriteHead(ok200(length("1")), false)
			_, _ = s.Write([]byte("x"))
			_, _ = s.Write([]byte("y"))
			return s.End(nil)
		}, ErrTooLong, "RST_STREAM 1 INTERNAL_ERROR"},
		{"shorter than declared", func(s *Stream) error { _ = s.WriteHead(ok200(length("1")), false); return s.End(nil) }, ErrTooShort, "RST_STREAM 1 INTERNAL_ERROR"},
		{"nothing of what was declared", func(s *Stream) error { return s.WriteHead(ok200(length("1")), true) }, ErrTooShort, "RST_STREAM 1 INTERNAL_ERROR"},
		{"after the end", func(s *Stream) error { _ = s.WriteHead(ok200(), true); return s.End(nil) }, ErrOver, "HEADERS 1 :status=200 END"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			against(t, Config{}, func(s *Stream) { err = tt.do(s) }, func(p *peer) {
				p.head(1, true, "+")
				if got := p.take(); got[len(got)-1] != tt.last {
					t.Errorf("got %q, want %q last", got, tt.last)
				}
			})
			if !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

// The answer to a HEAD, and one that has no content by its status, drops it.
func TestNoContent(t *testing.T) {
	for _, tt := range []struct {
		method, want string
		status       int
	}{
		{"HEAD", "HEADERS 1 :status=200 content-length=5 connection2=x END", 200},
		{"GET", "HEADERS 1 :status=204 connection2=x END", 204},
		{"GET", "HEADERS 1 :status=304 content-length=5 connection2=x END", 304},
	} {
		serve := func(s *Stream) {
			_ = s.WriteHead(&l7.ResponseHead{Status: tt.status, Fields: l7.Fields{
				{Name: "content-length", Value: "5"},
				{Name: "connection", Value: "mine"},
				{Name: "mine", Value: "x"},
				{Name: "keep-alive", Value: "1"},
				{Name: "connection2", Value: "x"},
			}}, false)
			_, _ = s.Write([]byte("hello"))
			_ = s.End(nil)
		}
		against(t, Config{}, serve, func(p *peer) {
			p.head(1, true, ":method="+tt.method, ":scheme=http", ":path=/", ":authority=h")
			p.want(tt.want)
		})
	}
}

// One direction of a CONNECT ends, and the other goes on.
func TestConnectHalfClose(t *testing.T) {
	var read chan string
	serve := func(s *Stream) {
		_ = s.WriteHead(ok200(), false)
		_ = s.End(nil)
		all, _ := io.ReadAll(s)
		read <- string(all)
	}
	against(t, Config{}, serve, func(p *peer) {
		read = make(chan string, 1)
		p.head(1, false, ":method=CONNECT", ":authority=h:1")
		p.want("HEADERS 1 :status=200 END")
		p.data(1, false, "on and ")
		p.data(1, true, "on")
		if got := <-read; got != "on and on" {
			t.Errorf("read %q", got)
		}
		p.want()
	})
}

// Streams take turns, a frame each, when they have more to say than goes out.
func TestTurns(t *testing.T) {
	serve := func(s *Stream) {
		_ = s.WriteHead(ok200(), false)
		_, _ = s.Write(make([]byte, 4*frameSize))
		_ = s.End(nil)
	}
	against(t, Config{}, serve, func(p *peer) {
		p.raw(kindWindow, 0, 0, "\x00\xff\xff\xff")
		p.raw(kindSettings, 0, 0, "\x00\x04\x00\x00\x00\x00")
		p.head(1, true, "+")
		p.head(3, true, "+")
		p.take()
		p.raw(kindSettings, 0, 0, "\x00\x04\x00\xff\xff\xff")
		var order []byte
		for _, e := range p.take() {
			if len(e) > 5 && e[:5] == "DATA " && e[7] == '[' {
				order = append(order, e[5])
			}
		}
		if string(order) != "13131313" && string(order) != "31313131" {
			t.Errorf("streams took turns as %q", order)
		}
	})
}

// Reset and StopReading free those who wait, and give back what nobody reads.
func TestStops(t *testing.T) {
	for name, stop := range map[string]func(s *Stream){
		"reset": func(s *Stream) { s.Reset(Cancel) },
		"stop":  (*Stream).StopReading,
	} {
		t.Run(name, func(t *testing.T) {
			againstClient(t, Config{StreamWindow: 1 << 16, ConnWindow: 1 << 16}, func(p *peer) {
				s := p.open("GET", true)
				p.head(1, false, ":status=200")
				result := make(chan error, 1)
				go func() { _, err := s.Read(make([]byte, 1)); result <- err }()
				synctest.Wait()
				stop(s)
				if err := <-result; !errors.Is(err, net.ErrClosed) {
					t.Errorf("Read = %v", err)
				}
				p.take()
				for range 4 { // twice the connection's window, which nobody reads
					p.data(1, false, string(make([]byte, frameSize)))
					p.data(1, false, string(make([]byte, frameSize)))
					p.take()
				}
				if p.over() {
					t.Error("the connection's window was not given back")
				}
			})
		})
	}
}
