package http2

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// open opens a stream of the client that p is against, and takes its head.
func (p *peer) open(method string, end bool) *Stream {
	p.t.Helper()
	s, err := p.conn.Open(&l7.RequestHead{Method: method, Authority: "h", Path: "/"}, end)
	if err != nil {
		p.t.Fatal(err)
	}
	p.take()
	return s
}

func TestResponse(t *testing.T) {
	againstClient(t, Config{}, func(p *peer) {
		s := p.open("GET", true)
		p.head(1, false, ":status=100")
		p.head(1, false, ":status=103", "link=x")
		p.head(1, false, ":status=200", "content-length=3", "x-a=1", "x-a=2")
		h, ended, err := s.Response()
		if err != nil || ended || h.Status != 200 || len(h.Fields) != 3 {
			t.Fatalf("Response = %+v, %v, %v", h, ended, err)
		}
		if s.Ready() || s.Buffered() > 0 {
			t.Error("ready before it is")
		}
		p.data(1, false, "ab")
		p.data(1, false, "c")
		p.take()
		if s.Ready() || s.Buffered() != 3 {
			t.Errorf("ready %v, %d bytes", s.Ready(), s.Buffered())
		}
		p.head(1, true, "x-sum=7", "set-cookie=no", "sallyport-x=no")
		p.take()
		if !s.Ready() || p.conn.Streams() != 0 {
			t.Errorf("ready %v, %d streams", s.Ready(), p.conn.Streams())
		}
		body, err := io.ReadAll(s)
		if string(body) != "abc" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
		if trailers := s.Trailers(); len(trailers) != 1 || trailers.Get("x-sum") != "7" {
			t.Errorf("trailers = %v", trailers)
		}
	})
}

// An answer in one frame is known to be one; a HEAD's length is no content.
func TestResponseWithoutContent(t *testing.T) {
	againstClient(t, Config{}, func(p *peer) {
		for i, method := range []string{"GET", "HEAD"} {
			s := p.open(method, true)
			p.head(uint32(1+2*i), true, ":status=200", []string{"grpc-status=7", "content-length=5"}[i])
			if h, ended, err := s.Response(); err != nil || !ended || h.Status != 200 || !s.Ended() || !s.Ready() {
				t.Errorf("%s: %+v, %v, %v", method, h, ended, err)
			}
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("%s: read %v, want io.EOF", method, err)
			}
		}
		p.want()
	})
}

// A peer that takes no more streams is told from one that has gone.
func TestOpenLimits(t *testing.T) {
	againstClient(t, Config{}, func(p *peer) {
		p.raw(kindSettings, 0, 0, "\x00\x03\x00\x00\x00\x02")
		p.open("GET", true)
		p.open("GET", true)
		head := &l7.RequestHead{Method: "GET", Authority: "h", Path: "/"}
		if _, err := p.conn.Open(head, true); !errors.Is(err, ErrStreamLimit) || !Unprocessed(err) || p.conn.Room() != 0 {
			t.Errorf("Open = %v, want ErrStreamLimit", err)
		}
		p.head(1, true, ":status=204")
		p.take()
		if p.conn.Room() != 1 {
			t.Errorf("room for %d, want 1", p.conn.Room())
		}
		if _, err := p.conn.Open(&l7.RequestHead{Method: "GET", Authority: "h", Path: "/", Fields: l7.Fields{{Name: "X", Value: "y"}}}, true); err == nil {
			t.Error("a head that is not well formed was sent")
		}
		p.raw(kindGoAway, 0, 0, "\x7f\xff\xff\xff\x00\x00\x00\x00")
		p.take()
		if _, err := p.conn.Open(head, true); !errors.Is(err, ErrGoingAway) || !Unprocessed(err) || p.conn.Room() != 0 {
			t.Errorf("Open = %v, want ErrGoingAway", err)
		}
		if p.over() {
			t.Error("the connection ended before its last stream")
		}
		p.head(3, true, ":status=204")
		if !p.over() {
			t.Error("the connection goes on after its last stream")
		}
		if _, err := p.conn.Open(head, true); !errors.Is(err, ErrGoingAway) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Open = %v, want ErrGoingAway", err)
		}
	})
}

// What may change Open is told: limits, and that nothing is opened any more.
func TestChanged(t *testing.T) {
	told := make(chan struct{}, 10)
	againstClient(t, Config{Changed: func() { told <- struct{}{} }}, func(p *peer) {
		if len(told) == 0 {
			t.Error("the first SETTINGS were not told of")
		}
		for _, say := range []func(){
			func() { p.raw(kindSettings, 0, 0, "\x00\x03\x00\x00\x00\x02") },
			func() { p.raw(kindGoAway, 0, 0, "\x7f\xff\xff\xff\x00\x00\x00\x00") },
		} {
			for len(told) > 0 {
				<-told
			}
			say()
			p.take()
			if len(told) != 1 {
				t.Errorf("told %d times, want once", len(told))
			}
		}
	})
}

// What the peer has not processed may be asked again elsewhere; what it may have,
// not.
func TestUnprocessed(t *testing.T) {
	againstClient(t, Config{}, func(p *peer) {
		refused, reset, kept, passed := p.open("GET", true), p.open("GET", true), p.open("GET", true), p.open("GET", true)
		gone := 0
		passed.Gone(func() { gone++ })
		p.raw(kindReset, 0, 1, "\x00\x00\x00\x07")
		p.raw(kindReset, 0, 3, "\x00\x00\x00\x08")
		p.raw(kindGoAway, 0, 0, "\x00\x00\x00\x05\x00\x00\x00\x00")
		p.take()
		for s, want := range map[*Stream]bool{refused: true, reset: false, passed: true} {
			_, _, err := s.Response()
			var e *ResetError
			if !errors.As(err, &e) || !e.Remote || Unprocessed(err) != want || !errors.Is(err, net.ErrClosed) {
				t.Errorf("stream %d: %v, unprocessed %v, want %v", s.ID(), err, Unprocessed(err), want)
			}
		}
		if gone != 1 {
			t.Errorf("Gone was called %d times", gone)
		}
		p.head(5, true, ":status=200")
		if _, _, err := kept.Response(); err != nil {
			t.Errorf("the stream before the last: %v", err)
		}
	})
}

// A peer that says farewell with an error ends what is left with it.
func TestFarewell(t *testing.T) {
	againstClient(t, Config{}, func(p *peer) {
		s := p.open("GET", true)
		p.raw(kindGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x0b")
		p.take()
		p.nc.Close()
		_, _, err := s.Response()
		var e *ConnError
		if !errors.As(err, &e) || e.Code != EnhanceYourCalm || !e.Remote || Unprocessed(err) {
			t.Errorf("Response = %v", err)
		}
	})
}

// A whole answer outlives its connection.
func TestAnswerOutlivesConnection(t *testing.T) {
	againstClient(t, Config{}, func(p *peer) {
		s := p.open("GET", true)
		p.head(1, false, ":status=200")
		p.data(1, true, "whole")
		p.nc.Close()
		if !p.over() {
			t.Fatal("the connection goes on")
		}
		if body, err := io.ReadAll(s); string(body) != "whole" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
	})
}
