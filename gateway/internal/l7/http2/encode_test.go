package http2

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// A head of more than one frame arrives as it left, at another's client and at
// ours.
func TestLongHeads(t *testing.T) {
	long := strings.Repeat("0123456789", 4000)
	serve := func(s *Stream) {
		_ = s.WriteHead(ok200(l7.Field{Name: "x-back", Value: s.Request().Fields.Get("x-long")}), true)
	}
	client, _ := pair(t, serve)
	s, err := client.Open(&l7.RequestHead{Method: "GET", Authority: "h", Path: "/", Fields: l7.Fields{{Name: "x-long", Value: long}}}, true)
	if err != nil {
		t.Fatal(err)
	}
	h, ended, err := s.Response()
	if err != nil || !ended || h.Fields.Get("x-back") != long {
		t.Errorf("%d bytes came back of %d, %v", len(h.Fields.Get("x-back")), len(long), err)
	}
	tr := cleartext(serveTCP(t, false, Config{}, serve))
	t.Cleanup(tr.CloseIdleConnections)
	r := newGet(t, "http://h/")
	r.Header.Set("X-Long", long)
	resp, err := tr.RoundTrip(r)
	if err != nil || resp.Header.Get("X-Back") != long {
		t.Errorf("net/http: %v", err)
	}
}

// A client says the connection's scheme, and te alone of a connection's fields.
func TestRequestOnTheWire(t *testing.T) {
	againstClient(t, Config{Secure: true}, func(p *peer) {
		for _, h := range []*l7.RequestHead{
			{Method: "GET", Scheme: "http", Authority: "h", Path: "/?q", Fields: l7.Fields{
				{Name: "te", Value: "trailers"}, {Name: "upgrade", Value: "x"}, {Name: "x-a", Value: "1"}, {Name: "proxy-authorization", Value: "secret"},
			}},
			{Method: "CONNECT", Authority: "h:1"},
		} {
			if _, err := p.conn.Open(h, true); err != nil {
				t.Fatal(err)
			}
		}
		p.want("HEADERS 1 :method=GET :scheme=https :path=/?q :authority=h te=trailers x-a=1 END",
			"HEADERS 3 :method=CONNECT :authority=h:1 END")
	})
}

// A held head leaves with its content, and when somebody waits for an answer.
func TestHeldRequest(t *testing.T) {
	againstClient(t, Config{}, func(p *peer) {
		head := &l7.RequestHead{Method: "POST", Authority: "h", Path: "/"}
		s, err := p.conn.Open(head, false)
		if err != nil {
			t.Fatal(err)
		}
		p.want()
		if _, err := s.Hold([]byte("x")); err != nil {
			t.Fatal(err)
		}
		p.want()
		if err := s.End(nil); err != nil {
			t.Fatal(err)
		}
		p.want("HEADERS 1 :method=POST :scheme=http :path=/ :authority=h", `DATA 1 "x" END`)
		if s, err = p.conn.Open(head, false); err != nil {
			t.Fatal(err)
		}
		go func() { _, _, _ = s.Response() }()
		p.want("HEADERS 3 :method=POST :scheme=http :path=/ :authority=h")
	})
}

// Frames are as long as the peer takes, up to a bound.
func TestFrameSizes(t *testing.T) {
	for setting, want := range map[string]int{"\x00\x00\x40\x00": frameSize, "\x00\x00\x50\x00": 20 << 10, "\x00\x10\x00\x00": largeFrame} {
		againstClient(t, Config{}, func(p *peer) {
			p.raw(kindWindow, 0, 0, "\x00\xff\xff\xff")
			p.raw(kindSettings, 0, 0, "\x00\x05"+setting+"\x00\x04\x00\xff\xff\xff")
			s := p.open("POST", false)
			if _, err := s.Write(make([]byte, 200_000)); err != nil {
				t.Fatal(err)
			}
			if first := fmt.Sprintf("DATA 1 [%d]", want); !slices.Contains(p.take(), first) {
				t.Errorf("no %s", first)
			}
		})
	}
}

// Window updates are few.
func TestWindowUpdatesAreFew(t *testing.T) {
	against(t, Config{}, func(s *Stream) { _, _ = io.Copy(io.Discard, s) }, func(p *peer) {
		p.head(1, false, "+")
		updates := 0
		for range 64 { // 1 MiB
			p.data(1, false, string(make([]byte, frameSize)))
			for _, e := range p.take() {
				if strings.HasPrefix(e, "WINDOW_UPDATE") {
					updates++
				}
			}
		}
		if p.over() || updates < 8 || updates > 12 {
			t.Errorf("%d window updates for four windows, want two for each and those of the connection", updates)
		}
	})
}

// Streams are served by Go, and not before the frames that came with them.
func TestGo(t *testing.T) {
	var tasks []Task
	cfg := Config{Go: func(t Task) { tasks = append(tasks, t) }}
	x, _ := tcpPair(t)
	c := Server(x, strings.NewReader(preface+string(sample(true))), cfg, greet)
	c.mu.Lock()
	c.out.writing = true // Run is not to write by itself
	c.mu.Unlock()
	_ = c.readAll()
	if len(tasks) != 2 {
		t.Errorf("%d tasks, want one for each stream", len(tasks))
	}
	x.Close()
}
