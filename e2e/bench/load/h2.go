package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// window is what the other end may send at once, on a stream and on the
	// connection: no limit on anything that is measured. No stream receives as
	// much in the longest run; the connection's is given back.
	window = 1 << 30
	// firstWindow is the connection's before anybody raised it (RFC 9113 6.9.2).
	firstWindow = 65_535
	// frameSize is the most that every end takes (RFC 9113 4.2).
	frameSize = 16_384
)

// link is one end of an HTTP/2 connection with prior knowledge, owned by one
// goroutine. What it writes leaves when nothing is left to read, so that
// frames share packets as they do in other load generators.
type link struct {
	framer  *http2.Framer
	br      *bufio.Reader
	bw      *bufio.Writer
	encoder *hpack.Encoder
	block   bytes.Buffer // that encoder writes to
	decoder *hpack.Decoder
	room    int64 // to send on the connection
	start   int64 // to send on a new stream
	taken   int64 // received, and not given back
	lanes   map[uint32]*lane
	waiting map[uint32]*lane // that have more to send than there is room for
	head    *lane            // whose head is being read
	headEnd bool             // that head ends its stream
}

// lane is one stream of a link.
type lane struct {
	id     uint32
	room   int64  // to send
	due    []byte // to be sent
	ending ending // what comes behind due
	asked  asked
}

// ending is how what is sent goes on.
type ending int

const (
	goesOn         ending = iota
	halfCloses            // the other direction goes on
	endsInData            // and the stream with it
	endsInTrailers        // of a gRPC call that went well; and the stream with it
)

// end is what one end of a link does with what it reads. An error ends the link.
type end interface {
	// field is one of a head or of trailers.
	field(s *lane, name, value string)
	// headed says that a head, or trailers, are complete.
	headed(s *lane, ended bool) error
	data(s *lane, p []byte, ended bool) error
	reset(s *lane, code http2.ErrCode) error
	// leaves says that the other end takes no more streams.
	leaves(code http2.ErrCode) error
	// opened gives the lane of a stream that is not there, or nil to ignore it.
	opened(id uint32) *lane
}

func newLink(conn io.Writer, br *bufio.Reader) *link {
	l := &link{br: br, bw: bufio.NewWriterSize(conn, 64<<10), room: firstWindow, start: firstWindow, lanes: map[uint32]*lane{}, waiting: map[uint32]*lane{}}
	l.framer = http2.NewFramer(l.bw, l.br)
	l.framer.SetReuseFrames()
	l.encoder = hpack.NewEncoder(&l.block)
	return l
}

// greet sends what each end begins with.
func (l *link) greet() error {
	return errors.Join(
		l.framer.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: window},
			http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1 << 20},
		),
		l.framer.WriteWindowUpdate(0, window-firstWindow))
}

// add makes a lane of a stream.
func (l *link) add(id uint32) *lane {
	s := &lane{id: id, room: l.start}
	l.lanes[id] = s
	return s
}

// sendHead sends a head, or trailers, of names and values in turn.
func (l *link) sendHead(id uint32, end bool, fields ...string) error {
	l.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := l.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			return err
		}
	}
	return l.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: l.block.Bytes(), EndHeaders: true, EndStream: end})
}

// send sends data, now or when there is room for it.
func (l *link) send(s *lane, p []byte, e ending) error {
	s.due, s.ending = append(s.due, p...), e
	return l.push(s)
}

// push sends as much of what is due as there is room for.
func (l *link) push(s *lane) error {
	ended := false
	for len(s.due) > 0 {
		n := min(int64(len(s.due)), l.room, s.room, frameSize)
		if n <= 0 {
			l.waiting[s.id] = s
			return nil
		}
		ended = n == int64(len(s.due)) && (s.ending == halfCloses || s.ending == endsInData)
		if err := l.framer.WriteData(s.id, ended, s.due[:n]); err != nil {
			return err
		}
		l.room -= n
		s.room -= n
		s.due = s.due[:copy(s.due, s.due[n:])]
	}
	delete(l.waiting, s.id)
	if s.ending == goesOn {
		return nil
	}
	if s.ending != halfCloses {
		delete(l.lanes, s.id)
	}
	switch {
	case s.ending == endsInTrailers:
		return l.sendHead(s.id, true, "grpc-status", "0")
	case ended:
		return nil
	}
	return l.framer.WriteData(s.id, true, nil)
}

// serve reads until the end says that it is enough, or the connection ends.
func (l *link) serve(e end) error {
	l.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if l.head != nil {
			e.field(l.head, f.Name, f.Value)
		}
	})
	for {
		if l.br.Buffered() == 0 {
			if err := l.bw.Flush(); err != nil {
				return err
			}
		}
		f, err := l.framer.ReadFrame()
		if err == nil {
			err = l.take(f, e)
		}
		if err != nil {
			return errors.Join(err, l.bw.Flush())
		}
	}
}

func (l *link) take(f http2.Frame, e end) error {
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.HeadersFrame:
		if l.head = l.lanes[id]; l.head == nil {
			l.head = e.opened(id)
		}
		l.headEnd = f.StreamEnded()
		return l.takeBlock(f.HeaderBlockFragment(), f.HeadersEnded(), e)
	case *http2.ContinuationFrame:
		return l.takeBlock(f.HeaderBlockFragment(), f.HeadersEnded(), e)
	case *http2.DataFrame:
		return l.takeData(f, e)
	case *http2.RSTStreamFrame:
		s := l.lanes[id]
		if s == nil {
			return nil
		}
		delete(l.lanes, id)
		delete(l.waiting, id)
		return e.reset(s, f.ErrCode)
	case *http2.WindowUpdateFrame:
		return l.takeRoom(id, int64(f.Increment))
	case *http2.SettingsFrame:
		return l.takeSettings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return l.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		return e.leaves(f.ErrCode)
	}
	return nil
}

// takeBlock decodes what there is of a head.
func (l *link) takeBlock(block []byte, whole bool, e end) error {
	if _, err := l.decoder.Write(block); err != nil || !whole {
		return err
	}
	if err := l.decoder.Close(); err != nil || l.head == nil {
		return err
	}
	s := l.head
	l.head = nil
	return e.headed(s, l.headEnd)
}

func (l *link) takeData(f *http2.DataFrame, e end) error {
	if l.taken += int64(f.Length); l.taken > window/4 {
		if err := l.framer.WriteWindowUpdate(0, uint32(l.taken)); err != nil { //nolint:gosec // little more than a quarter of window
			return err
		}
		l.taken = 0
	}
	s := l.lanes[f.StreamID]
	if s == nil {
		return nil
	}
	return e.data(s, f.Data(), f.StreamEnded())
}

func (l *link) takeRoom(id uint32, more int64) error {
	if id == 0 {
		l.room += more
	} else if s := l.lanes[id]; s != nil {
		s.room += more
	}
	return l.pushWaiting()
}

func (l *link) pushWaiting() error {
	for _, s := range l.waiting {
		if err := l.push(s); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) takeSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if v, there := f.Value(http2.SettingInitialWindowSize); there {
		for _, s := range l.lanes {
			s.room += int64(v) - l.start
		}
		l.start = int64(v)
	}
	if v, there := f.Value(http2.SettingHeaderTableSize); there {
		l.encoder.SetMaxDynamicTableSizeLimit(v)
	}
	return errors.Join(l.framer.WriteSettingsAck(), l.pushWaiting())
}
