package http2

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// FuzzHeader: a header reads back as it was written, but for the reserved bit.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x00\x01\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerLen {
			return
		}
		want := bytes.Clone(b[:headerLen])
		want[5] &= 0x7f
		if got := appendHeader(nil, parseHeader(b)); !bytes.Equal(got, want) {
			t.Errorf("got %x, want %x", got, want)
		}
	})
}

// canned is a connection whose peer has said all that it will, and reads
// everything.
type canned struct {
	net.Conn
	r io.Reader
}

func (c canned) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (canned) Write(p []byte) (int, error)        { return len(p), nil }
func (canned) Close() error                       { return nil }
func (canned) SetReadDeadline(time.Time) error    { return nil }
func (canned) SetWriteDeadline(t time.Time) error { return nil }

// FuzzServer feeds a server what may be anything behind a preface: it must come to
// an end, hold its bounds, and give out no head that is not well formed.
func FuzzServer(f *testing.F) {
	f.Add(sample(true), uint8(0))
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, chunk uint8) {
		in := io.MultiReader(bytes.NewReader([]byte(preface)), chunked{bytes.NewReader(b), int(chunk)})
		c := Server(canned{r: in}, canned{r: in}, Config{Refuse: refuseAll}, func(s *Stream) {
			if err := s.Request().Check(); err != nil {
				t.Errorf("a head that is not well formed: %v", err)
			}
			echo(s)
		})
		if err := c.Run(); err == nil {
			t.Error("Run gave no error")
		}
		checkEnd(t, c)
	})
}

// FuzzClient is FuzzServer for a client that asks something.
func FuzzClient(f *testing.F) {
	f.Add(sample(false), uint8(0))
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, chunk uint8) {
		c := Client(canned{r: chunked{bytes.NewReader(b), int(chunk)}}, Config{})
		for _, method := range [...]string{"GET", "HEAD"} {
			s, err := c.Open(&l7.RequestHead{Method: method, Authority: "h", Path: "/"}, method == "GET")
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if h, _, err := s.Response(); err == nil && h.Check() != nil {
					t.Errorf("a head that is not well formed: %v", h.Check())
				}
				_, _ = io.Copy(io.Discard, s)
			}()
		}
		if err := c.Run(); err == nil {
			t.Error("Run gave no error")
		}
		checkEnd(t, c)
	})
}

func checkEnd(t *testing.T, c *Conn) {
	select {
	case <-c.Done():
	default:
		t.Error("the connection has not ended")
	}
	if n := c.Streams(); n != 0 {
		t.Errorf("%d streams are open", n)
	}
}

// chunked gives n bytes at a time.
type chunked struct {
	r io.Reader
	n int
}

func (c chunked) Read(p []byte) (int, error) {
	if c.n > 0 && len(p) > c.n {
		p = p[:c.n]
	}
	return c.r.Read(p)
}

// sample is what an honest client, or server, might say.
func sample(client bool) []byte {
	var b bytes.Buffer
	p := &peer{fr: framerTo(&b)}
	p.enc = hpack.NewEncoder(&p.block)
	_ = p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	_ = p.fr.WriteSettingsAck()
	head := ":status=200"
	if client {
		head = "+"
	}
	_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(head, "cookie=a", "cookie=b"), EndHeaders: true})
	_ = p.fr.WriteDataPadded(1, false, []byte("hello"), []byte{0, 0})
	_ = p.fr.WritePing(false, [8]byte{1})
	_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode("x-sum=1"), EndStream: true})
	_ = p.fr.WriteContinuation(1, true, nil)
	_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.encode(head), EndHeaders: true, EndStream: true, Priority: http2.PriorityParam{StreamDep: 1, Weight: 3}})
	_ = p.fr.WriteWindowUpdate(0, 1000)
	_ = p.fr.WriteWindowUpdate(1, 1000)
	_ = p.fr.WriteRSTStream(1, http2.ErrCodeCancel)
	_ = p.fr.WriteGoAway(1, http2.ErrCodeNo, nil)
	return b.Bytes()
}
