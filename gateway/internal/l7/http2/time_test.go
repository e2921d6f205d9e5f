package http2

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// silentPeer is a peer that reads nothing, in a bubble.
func silentPeer(t *testing.T, cfg Config, serve func(*Stream), f func(p *peer)) {
	a, b := net.Pipe()
	p := &peer{t: t, nc: a, fr: framerTo(a), ended: make(chan error, 1)}
	p.enc = hpack.NewEncoder(&p.block)
	p.watch(&cfg)
	p.conn = Server(b, b, cfg, serve)
	go func() { p.ended <- p.conn.Run() }()
	_, _ = io.WriteString(a, http2.ClientPreface)
	_ = p.fr.WriteSettings()
	f(p)
	a.Close()
	<-p.ended
}

func TestHeadTimeout(t *testing.T) {
	for name, begin := range map[string]func(nc net.Conn){
		"nothing":     func(net.Conn) {},
		"preface":     func(nc net.Conn) { _, _ = io.WriteString(nc, http2.ClientPreface[:20]) },
		"no settings": func(nc net.Conn) { _, _ = io.WriteString(nc, http2.ClientPreface) },
		"a head": func(nc net.Conn) {
			_, _ = io.WriteString(nc, http2.ClientPreface)
			fr := framerTo(nc)
			_ = fr.WriteSettings()
			_ = fr.WriteRawFrame(http2.FrameHeaders, 0, 1, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, a) }()
				p := &peer{t: t}
				cfg := Config{HeadTimeout: 3 * time.Second}
				p.watch(&cfg)
				c := Server(b, b, cfg, greet)
				start := time.Now()
				ended := make(chan error, 1)
				go func() { ended <- c.Run() }()
				begin(a)
				var e *ConnError
				if err := <-ended; !errors.As(err, &e) || e.Code != ProtocolError {
					t.Errorf("Run = %v", err)
				}
				if took := time.Since(start); took != 3*time.Second {
					t.Errorf("it took %v", took)
				}
				if len(p.told()) != 1 {
					t.Errorf("told of %q", p.told())
				}
				a.Close()
			})
		})
	}
}

// A head that has come in time leaves no clock running.
func TestHeadInTime(t *testing.T) {
	against(t, Config{HeadTimeout: 3 * time.Second}, greet, func(p *peer) {
		p.raw(kindHeaders, flagEndStream, 1, string(p.encode("+")))
		synctestSleep(2 * time.Second)
		p.raw(kindContinuation, flagEndHeaders, 1, "")
		p.want("HEADERS 1 :status=200 content-length=12", `DATA 1 "hello, world" END`)
		synctestSleep(20 * time.Second)
		if p.over() {
			t.Error("the time of a head goes on after it")
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	against(t, Config{IdleTimeout: time.Minute}, echo, func(p *peer) {
		defer answerPings(p)()
		p.head(1, false, "+")
		synctestSleep(5 * time.Minute)
		if p.over() {
			t.Fatal("a connection with an open stream has ended")
		}
		p.data(1, true, "")
		p.take()
		synctestSleep(59 * time.Second)
		p.take()
		synctestSleep(time.Second)
		p.want("GOAWAY 0 last 2147483647 NO_ERROR", "PING 0")
		synctestSleep(2 * time.Second) // the PING is not answered
		p.want("GOAWAY 0 last 1 NO_ERROR")
		if !p.over() {
			t.Error("an idle connection goes on")
		}
		if len(p.told()) > 0 {
			t.Errorf("told of %q", p.told())
		}
	})
}

// answerPings keeps a connection alive until stop.
func answerPings(p *peer) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(10 * time.Second):
				_, _ = p.nc.Write(appendPing(nil, flagAck, 0))
			}
		}
	}()
	return func() { close(end); <-ended }
}

func TestIdleClientCloses(t *testing.T) {
	againstClient(t, Config{IdleTimeout: 20 * time.Second}, func(p *peer) {
		synctestSleep(20 * time.Second)
		p.want("GOAWAY 0 last 0 NO_ERROR")
		if _, err := p.conn.Open(&l7.RequestHead{Method: "GET", Authority: "h", Path: "/"}, true); !errors.Is(err, ErrGoingAway) {
			t.Errorf("Open = %v", err)
		}
	})
}

func TestPing(t *testing.T) {
	cfg := Config{PingAfter: 30 * time.Second, PingTimeout: 10 * time.Second, IdleTimeout: time.Hour}
	against(t, cfg, untilGone, func(p *peer) {
		p.head(1, false, "+")
		synctestSleep(38 * time.Second) // a look comes every 7.5 s
		p.want("PING 0")
		p.raw(kindPing, flagAck, 0, "12345678")
		synctestSleep(38 * time.Second)
		p.want("PING 0")
		synctestSleep(10 * time.Second)
		p.want("GOAWAY 0 last 1 NO_ERROR")
		if !p.over() {
			t.Error("a peer that is gone was not noticed")
		}
	})
}

// Servers of gRPC take pings for an attack, unless they are rare.
func TestClientPingsRarely(t *testing.T) {
	againstClient(t, Config{IdleTimeout: time.Hour}, func(p *peer) {
		synctestSleep(50 * time.Minute)
		p.want()
		p.open("GET", true)
		p.raw(kindPing, flagAck, 0, "12345678")
		synctestSleep(5 * time.Minute)
		p.want()
		synctestSleep(21 * time.Second)
		p.want("PING 0")
		synctestSleep(15 * time.Second)
		if !p.over() {
			t.Error("a peer that is gone was not noticed")
		}
	})
}

// Run waits for those who serve.
func TestRunWaits(t *testing.T) {
	var let chan struct{}
	against(t, Config{}, func(*Stream) { <-let }, func(p *peer) {
		let = make(chan struct{})
		p.head(1, true, "+")
		p.take()
		p.conn.Close()
		if p.take(); len(p.ended) != 0 || !p.over() {
			t.Error("Run has returned before its stream's server, or the connection goes on")
		}
		close(let)
		if p.take(); len(p.ended) != 1 {
			t.Error("Run has not returned")
		}
	})
}

// A peer that takes nothing: of the connection, it is gone; of a stream, the
// stream is.
func TestWriteTimeout(t *testing.T) {
	cfg := Config{WriteTimeout: 20 * time.Second, PingAfter: time.Hour, IdleTimeout: time.Hour}
	var result chan error
	serve := func(s *Stream) {
		_ = s.WriteHead(&l7.ResponseHead{Status: 200}, false)
		_, err := s.Write(make([]byte, 1<<20))
		result <- err
	}
	synctest.Test(t, func(t *testing.T) {
		silentPeer(t, cfg, serve, func(p *peer) {
			result = make(chan error, 1)
			p.head(1, true, "+")
			if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write = %v", err)
			}
			if !p.over() {
				t.Error("the connection goes on")
			}
		})
	})
	cfg.WriteTimeout, cfg.StallTimeout = time.Hour, cfg.WriteTimeout
	against(t, cfg, serve, func(p *peer) {
		result = make(chan error, 1)
		p.raw(kindWindow, 0, 0, "\x00\xff\x00\x00")
		p.head(1, true, "+")
		synctestSleep(15 * time.Second)
		p.raw(kindWindow, 0, 1, "\x00\x00\x00\x01") // it takes a byte, and so time begins again
		synctestSleep(15 * time.Second)
		p.take()
		synctestSleep(15 * time.Second)
		p.want("RST_STREAM 1 CANCEL")
		var e *ResetError
		if err := <-result; !errors.As(err, &e) || e.Remote {
			t.Errorf("Write = %v", err)
		}
		if p.over() {
			t.Error("the connection has ended for a stream")
		}
	})
}

func TestDrain(t *testing.T) {
	against(t, Config{}, echo, func(p *peer) {
		p.head(1, false, "+")
		p.take()
		p.conn.Drain()
		p.conn.Drain()
		p.want("GOAWAY 0 last 2147483647 NO_ERROR", "PING 0")
		p.head(3, false, "+") // opened before it knew
		p.want("HEADERS 3 :status=200 x-path=/")
		p.ackDrain()
		p.want("GOAWAY 0 last 3 NO_ERROR")
		p.head(5, false, "+", "x=y") // too late, but the table must be kept
		p.data(5, true, "x")
		p.want()
		p.data(3, true, "x")
		p.want(`DATA 3 "x"`, `DATA 3 "" END`)
		if p.over() {
			t.Fatal("the connection ended before its last stream")
		}
		p.data(1, true, "y")
		p.want(`DATA 1 "y"`, `DATA 1 "" END`)
		if !p.over() {
			t.Error("the connection goes on after its last stream")
		}
	})
}

func (p *peer) ackDrain() {
	p.raw(kindPing, flagAck, 0, string(binary.BigEndian.AppendUint64(nil, drainPing)))
}

func TestDrainOfClient(t *testing.T) {
	againstClient(t, Config{}, func(p *peer) {
		s := p.open("GET", true)
		p.conn.Drain()
		if _, err := p.conn.Open(&l7.RequestHead{Method: "GET", Authority: "h", Path: "/"}, true); !errors.Is(err, ErrGoingAway) {
			t.Errorf("Open = %v", err)
		}
		p.head(1, true, ":status=204")
		if _, _, err := s.Response(); err != nil {
			t.Error(err)
		}
		if !p.over() {
			t.Error("the connection goes on after its last stream")
		}
		p.want("GOAWAY 0 last 0 NO_ERROR")
	})
}

// Streams hear of what becomes of them.
func TestGone(t *testing.T) {
	for name, do := range map[string]func(p *peer){
		"reset":      func(p *peer) { p.raw(kindReset, 0, 1, "\x00\x00\x00\x08") },
		"lost":       func(p *peer) { p.nc.Close() },
		"its fault":  func(p *peer) { p.raw(kindWindow, 0, 1, "\x00\x00\x00\x00") },
		"our fault":  func(p *peer) { p.conn.Close() },
		"their end":  func(p *peer) { p.raw(kindPing, 0, 0, strings.Repeat("x", 7)) },
		"before now": func(p *peer) { p.raw(kindReset, 0, 1, "\x00\x00\x00\x08") },
	} {
		t.Run(name, func(t *testing.T) {
			var gone chan error
			var let chan struct{}
			serve := func(s *Stream) {
				if name == "before now" {
					<-let
				}
				s.Gone(func() { _, err := s.Read(make([]byte, 1)); gone <- err })
				<-let
			}
			against(t, Config{}, serve, func(p *peer) {
				gone, let = make(chan error, 1), make(chan struct{})
				p.head(1, false, "+")
				p.take()
				do(p)
				p.take()
				close(let)
				if err := <-gone; !errors.Is(err, net.ErrClosed) {
					t.Errorf("Read = %v", err)
				}
			})
		})
	}
}
