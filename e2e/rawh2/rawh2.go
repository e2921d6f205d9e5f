// Package rawh2 speaks HTTP/2 as no library lets one: whatever bytes a test
// wants stand in a field, a frame or a header block, and nothing is checked on
// the way. What comes back is gathered for each stream, resets included.
package rawh2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Conn is a client's end of an HTTP/2 connection. Frames may be written while
// another goroutine is in Await.
type Conn struct {
	net.Conn

	mu      sync.Mutex // guards what follows: one frame is written at a time
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer

	answers map[uint32]*Answer // Await's alone
	decoder *hpack.Decoder
}

// Answer is what came back on one stream.
type Answer struct {
	Status   int // 0: no head came
	Header   Fields
	Trailer  Fields
	Body     []byte
	Ended    bool           // the stream ended as it should
	Reset    *http2.ErrCode // of a RST_STREAM, nil if there was none
	informed bool           // a final head was read
}

// Fields are names and values as they were sent.
type Fields []hpack.HeaderField

// Get is the value of the first field of that name, "" if there is none.
func (f Fields) Get(name string) string {
	for _, field := range f {
		if field.Name == name {
			return field.Value
		}
	}
	return ""
}

// End is how a connection ended for a reader.
type End struct {
	GoAway *http2.ErrCode // the last that came, nil if none did
	Err    error          // why reading ended; nil while the connection is open
}

// New begins a connection with the preface and empty settings.
func New(nc net.Conn, settings ...http2.Setting) (*Conn, error) {
	c := &Conn{Conn: nc, framer: http2.NewFramer(nc, nc), answers: map[uint32]*Answer{}}
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(4096, nil)
	c.framer.AllowIllegalWrites, c.framer.AllowIllegalReads = true, true
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		return nil, fmt.Errorf("write the preface: %w", err)
	}
	return c, c.framer.WriteSettings(settings...)
}

// Block encodes names and values, in turn, as they are.
func (c *Conn) Block(pairs ...string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.encode(pairs)
}

func (c *Conn) encode(pairs []string) []byte {
	c.block.Reset()
	for i := 0; i+1 < len(pairs); i += 2 {
		c.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) //nolint:errcheck // into memory
	}
	return slices.Clone(c.block.Bytes())
}

// Headers sends names and values, in turn, as the head of a stream or its
// trailers, in as many frames as they need.
func (c *Conn) Headers(stream uint32, end bool, pairs ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fragments(stream, end, c.encode(pairs))
}

const frameSize = 16 << 10 // that every peer takes (RFC 9113 4.2)

func (c *Conn) fragments(stream uint32, end bool, block []byte) error {
	first := block[:min(len(block), frameSize)]
	rest := block[len(first):]
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0,
	})
	for err == nil && len(rest) > 0 {
		next := rest[:min(len(rest), frameSize)]
		rest = rest[len(next):]
		err = c.framer.WriteContinuation(stream, len(rest) == 0, next)
	}
	return err
}

// Data sends one DATA frame.
func (c *Conn) Data(stream uint32, end bool, data []byte) error {
	return c.Frame(func(f *http2.Framer) error { return f.WriteData(stream, end, data) })
}

// Frame sends whatever frames f writes, which may be illegal.
func (c *Conn) Frame(f func(*http2.Framer) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f(c.framer)
}

// Await reads until each of the streams has ended or was reset, or the
// connection has ended. Settings and pings are answered.
func (c *Conn) Await(streams ...uint32) (map[uint32]*Answer, End) {
	var end End
	for end.Err == nil && !c.ended(streams) {
		frame, err := c.framer.ReadFrame()
		if err == nil {
			err = c.took(frame, &end)
		}
		end.Err = err
	}
	return c.answers, end
}

func (c *Conn) ended(streams []uint32) bool {
	for _, id := range streams {
		if a := c.answers[id]; a == nil || !a.Ended && a.Reset == nil {
			return false
		}
	}
	return len(streams) > 0
}

func (c *Conn) took(frame http2.Frame, end *End) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.Frame((*http2.Framer).WriteSettingsAck)
		}
	case *http2.PingFrame:
		if data := f.Data; !f.IsAck() {
			return c.Frame(func(f *http2.Framer) error { return f.WritePing(true, data) })
		}
	case *http2.GoAwayFrame:
		end.GoAway = &f.ErrCode
	case *http2.RSTStreamFrame:
		c.answer(f.StreamID).Reset = &f.ErrCode
	case *http2.DataFrame:
		a := c.answer(f.StreamID)
		a.Body = append(a.Body, f.Data()...)
		a.Ended = f.StreamEnded()
		if n := f.Length; n > 0 {
			return c.credit(f.StreamID, n, a.Ended)
		}
	case *http2.HeadersFrame:
		return c.head(f)
	}
	return nil
}

// credit gives back what was read, so that an answer may be of any length.
func (c *Conn) credit(stream, n uint32, ended bool) error {
	return c.Frame(func(f *http2.Framer) error {
		if err := f.WriteWindowUpdate(0, n); err != nil || ended {
			return err
		}
		return f.WriteWindowUpdate(stream, n)
	})
}

func (c *Conn) answer(stream uint32) *Answer {
	if c.answers[stream] == nil {
		c.answers[stream] = &Answer{}
	}
	return c.answers[stream]
}

func (c *Conn) head(first *http2.HeadersFrame) error {
	a, ended, id := c.answer(first.StreamID), first.StreamEnded(), first.StreamID
	block := slices.Clone(first.HeaderBlockFragment())
	for whole := first.HeadersEnded(); !whole; {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		more, ok := frame.(*http2.ContinuationFrame)
		if !ok || more.StreamID != id {
			return errors.New("a header block of the peer is interrupted")
		}
		block = append(block, more.HeaderBlockFragment()...)
		whole = more.HeadersEnded()
	}
	fields, err := c.decoder.DecodeFull(block)
	if err != nil {
		return fmt.Errorf("decode a head of the peer: %w", err)
	}
	a.Ended = ended
	return a.took(fields)
}

// took keeps a head, or trailers after it. What is said before the final head
// is left out.
func (a *Answer) took(fields Fields) error {
	if a.informed {
		a.Trailer = fields
		return nil
	}
	status, err := strconv.Atoi(fields.Get(":status"))
	if err != nil {
		return fmt.Errorf("status of the peer: %w", err)
	}
	if status >= 200 {
		a.Status, a.Header, a.informed = status, fields, true
	}
	return nil
}
