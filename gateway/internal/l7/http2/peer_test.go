package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// peer is the other end of a connection, written by hand, in a synctest bubble.
type peer struct {
	t     *testing.T
	nc    net.Conn
	fr    *http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	conn  *Conn
	ended chan error

	mu     sync.Mutex // guards what follows
	events []string   // what has come, a frame each
	faults []string
}

// against runs f in a bubble with a peer of a server, after both have said their
// SETTINGS.
func against(t *testing.T, cfg Config, serve func(*Stream), f func(p *peer)) {
	t.Helper()
	bubble(t, f, func(p *peer, nc net.Conn) {
		p.watch(&cfg)
		p.conn = Server(nc, nc, cfg, serve)
		go func() { p.ended <- p.conn.Run() }()
		p.send("preface", func() error { _, err := io.WriteString(p.nc, http2.ClientPreface); return err })
	})
}

// againstClient is against a client.
func againstClient(t *testing.T, cfg Config, f func(p *peer)) {
	t.Helper()
	bubble(t, f, func(p *peer, nc net.Conn) {
		p.watch(&cfg)
		p.conn = Client(nc, cfg)
		go func() { p.ended <- p.conn.Run() }()
		if _, err := io.ReadFull(p.nc, make([]byte, len(http2.ClientPreface))); err != nil {
			p.t.Fatal(err)
		}
	})
}

func bubble(t *testing.T, f func(p *peer), begin func(p *peer, nc net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		p := &peer{t: t, nc: a, fr: http2.NewFramer(a, nil), ended: make(chan error, 1)}
		p.fr.AllowIllegalWrites = true
		p.enc = hpack.NewEncoder(&p.block)
		begin(p, b)
		read := make(chan struct{})
		go func() { defer close(read); p.readAll() }()
		p.send("settings", func() error { return p.fr.WriteSettings() })
		p.send("ack", p.fr.WriteSettingsAck)
		synctest.Wait()
		p.take()
		f(p)
		a.Close()
		<-read
		<-p.ended
	})
}

func (p *peer) watch(cfg *Config) {
	cfg.Fault = func(reason crossingv1.Reason, detail string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.faults = append(p.faults, fmt.Sprintf("%s %s", reason, detail))
	}
}

// send sends something; that the connection has ended already is no failure.
func (p *peer) send(what string, f func() error) {
	p.t.Helper()
	if err := f(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		p.t.Fatalf("send %s: %v", what, err)
	}
}

func (p *peer) readAll() {
	dec := hpack.NewDecoder(4096, nil)
	fr := http2.NewFramer(nil, p.nc)
	fr.AllowIllegalReads = true
	fr.SetMaxReadFrameSize(1 << 20)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		e := describe(f, dec)
		p.mu.Lock()
		p.events = append(p.events, e)
		p.mu.Unlock()
	}
}

// describe says a frame in a line.
func describe(f http2.Frame, dec *hpack.Decoder) string {
	h := f.Header()
	what := fmt.Sprintf("%s %d", h.Type, h.StreamID)
	end := ""
	switch f := f.(type) {
	case *http2.DataFrame:
		if f.StreamEnded() {
			end = " END"
		}
		if len(f.Data()) > 40 {
			return fmt.Sprintf("%s [%d]%s", what, len(f.Data()), end)
		}
		return fmt.Sprintf("%s %q%s", what, f.Data(), end)
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			end = " END"
		}
		if !f.HeadersEnded() {
			return what + " ..."
		}
		fields, err := dec.DecodeFull(f.HeaderBlockFragment())
		if err != nil {
			return what + err.Error()
		}
		for _, f := range fields {
			what += fmt.Sprintf(" %s=%s", f.Name, f.Value)
		}
		return what + end
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("%s %s", what, Code(f.ErrCode))
	case *http2.GoAwayFrame:
		return fmt.Sprintf("%s last %d %s", what, f.LastStreamID, Code(f.ErrCode))
	case *http2.WindowUpdateFrame:
		return fmt.Sprintf("%s +%d", what, f.Increment)
	case *http2.PingFrame:
		if f.IsAck() {
			return what + " ACK"
		}
	case *http2.SettingsFrame:
		if f.IsAck() {
			return what + " ACK"
		}
	}
	return what
}

// take waits until nothing more comes and gives what came since the last time.
func (p *peer) take() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	events := p.events
	p.events = nil
	return events
}

// want checks what came since the last time, but for window updates.
func (p *peer) want(want ...string) {
	p.t.Helper()
	got := slices.DeleteFunc(p.take(), func(e string) bool { return strings.HasPrefix(e, "WINDOW_UPDATE") })
	if !slices.Equal(got, want) {
		p.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// head sends HEADERS with fields, each NAME=VALUE; "+" stands for those of a GET
// of https://h/.
func (p *peer) head(stream uint32, end bool, fields ...string) {
	p.t.Helper()
	p.send("headers", func() error {
		return p.fr.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream, BlockFragment: p.encode(fields...), EndStream: end, EndHeaders: true,
		})
	})
}

func (p *peer) encode(fields ...string) []byte {
	p.block.Reset()
	for _, f := range fields {
		if f == "+" {
			for _, g := range [...]string{":method=GET", ":scheme=http", ":path=/", ":authority=h"} {
				p.field(g)
			}
			continue
		}
		p.field(f)
	}
	return bytes.Clone(p.block.Bytes())
}

func (p *peer) field(f string) {
	i := strings.IndexByte(f[1:], '=') + 1
	if err := p.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: f[i+1:]}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) data(stream uint32, end bool, content string) {
	p.t.Helper()
	p.send("data", func() error { return p.fr.WriteData(stream, end, []byte(content)) })
}

// raw sends a frame of any kind.
func (p *peer) raw(k kind, flags uint8, stream uint32, payload string) {
	p.t.Helper()
	p.send("frame", func() error {
		return p.fr.WriteRawFrame(http2.FrameType(k), http2.Flags(flags), stream, []byte(payload))
	})
}

// told gives what Fault was told.
func (p *peer) told() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults
}

// over says that the connection has ended.
func (p *peer) over() bool {
	synctest.Wait()
	select {
	case <-p.conn.Done():
		return true
	default:
		return false
	}
}
