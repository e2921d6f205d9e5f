package http2

import (
	"io"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/blocks"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
)

// Stream is one exchange. One goroutine may read it while another one writes.
type Stream struct {
	c        *Conn
	id       uint32
	request  fieldblock.Request  // a server's
	refused  *fieldblock.Refusal // a server's, of a request that serve does not get
	asksHead bool                // the request is a HEAD
	connect  bool                // the request is a CONNECT

	// Who writes owns these.
	begun    bool // the head was written
	bodiless bool // content is dropped, such as of the answer to a HEAD
	counted  bool // the head has declared a length
	left     int64
	misused  error // the first use against the rules

	// The Conn's mu guards these. The read loop alone changes headed.
	send     int64  // credit for what is sent
	recv     window // what the peer may send
	unread   int64  // received and not consumed
	expect   int64  // content that is to come still, -1 if that is not known
	headed   bool   // the peer's head has come
	interims int    // answers before it
	expects  bool   // the peer waits for 100 Continue
	data     []byte // what Write has still to send
	wrote    sync.Cond
	queued   bool // in the Conn's queue
	after    *Stream
	moved    bool      // data was sent since the last look
	stalled  time.Time // when a look first saw data that is not
	batch    uint32    // which pending the last frame is in
	at       int       // and where
	sentEnd  bool
	recvEnd  bool
	closed   bool  // both, or reset: the Conn does not know it any more
	deaf     bool  // what comes is dropped
	err      error // why it was reset or lost
	gone     func()

	mu       sync.Mutex // guards what follows
	arrived  sync.Cond
	in       blocks.Buffer
	want     []byte // where Read waits for data, nil if it does not
	got      int    // how much of it has come
	eof      bool   // the peer ended its direction
	recvErr  error
	trailers l7.Fields
	response l7.ResponseHead // a client's, once headIn is set
	headIn   bool
	headOnly bool // the head was all of it

	fields [usualFields]l7.Field // room for those of the peer
}

const (
	// usualFields is as many as nearly all requests' heads have, with those that a
	// gateway adds, and answers' heads and trailers together.
	usualFields = 14
	// answerFields of them are an answer's head's.
	answerFields = 8
)

// roomForTrailers is what the head does not use.
func (s *Stream) roomForTrailers() l7.Fields {
	if s.c.server {
		return nil
	}
	return s.fields[answerFields:answerFields]
}

func newStream(c *Conn) *Stream {
	s := &Stream{c: c, expect: -1, recv: newWindow(c.cfg.StreamWindow)}
	s.wrote.L, s.arrived.L = &c.mu, &s.mu
	return s
}

// begin makes a server's stream of one whose request was read.
func (s *Stream) begin(end bool) {
	method := s.request.Head.Method
	s.asksHead, s.connect = method == "HEAD", method == "CONNECT"
	s.headed, s.expect, s.expects = true, s.request.Length, s.request.Continue
	s.eof, s.headOnly = end, end
}

// serving is serve as a Task.
type serving Stream

// Do implements Task.
func (s *serving) Do() { (*Stream)(s).serve() }

// serve answers the request. What is not ended then never will be.
func (s *Stream) serve() {
	if s.refused != nil {
		s.refuseNow()
	} else {
		s.c.serve(s)
	}
	s.StopReading()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving--; c.serving == 0 {
		c.out.tell()
	}
	switch {
	case s.closed:
	case s.sentEnd:
		c.resetLocked(s, NoError) // the rest of the request is not wanted (RFC 9113 8.1)
	default:
		c.resetLocked(s, InternalError)
	}
}

// ID is the stream's number on the wire.
func (s *Stream) ID() uint32 { return s.id }

// Request is the head of the request, for a server. It is the caller's to change.
func (s *Stream) Request() *l7.RequestHead { return &s.request.Head }

// Ended says that the request, for a server, or the answer, for a client that has
// it, is its head alone.
func (s *Stream) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.headOnly
}

// Response waits for the head of the answer, for a client, and passes over
// interim ones. With ended set neither data nor trailers follow.
func (s *Stream) Response() (h *l7.ResponseHead, ended bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for prompted := false; !s.headIn; prompted = true {
		if s.recvErr != nil {
			return nil, false, s.recvErr
		}
		if prompted {
			s.arrived.Wait()
		} else {
			s.prompt()
		}
	}
	return &s.response, s.headOnly, nil
}

// prompt sends what the peer may be waiting for, before this end waits for it. The
// caller holds mu, which is free meanwhile.
func (s *Stream) prompt() {
	s.mu.Unlock()
	defer s.mu.Lock()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.expects && !s.closed {
		s.expects = false
		start := c.openHead(s)
		c.out.fields.Response(interim, false)
		c.closeHead(start, s.id, false)
	}
	if s.held() {
		c.flush()
	}
}

// Read reads content. After io.EOF Trailers is complete.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.receive(p)
	if n > 0 {
		s.consumed(n)
	}
	return n, err
}

func (s *Stream) receive(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for prompted := false; ; prompted = true {
		if n := s.in.Take(p); n > 0 {
			return n, nil
		}
		if s.recvErr != nil {
			return 0, s.recvErr
		}
		if s.eof {
			return 0, io.EOF
		}
		if !prompted {
			s.prompt()
			continue
		}
		s.want = p
		s.arrived.Wait()
		n := s.got
		s.want, s.got = nil, 0
		if n > 0 {
			return n, nil
		}
	}
}

// Ready says that all that is left to read has arrived, its end too, or that
// nothing will: reading does not wait.
func (s *Stream) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.eof || s.recvErr != nil
}

// Buffered is the number of bytes that can be read without waiting.
func (s *Stream) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.Len()
}

// Trailers are complete once Read gave io.EOF. They are the caller's.
func (s *Stream) Trailers() l7.Fields {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trailers
}

// StopReading makes a pending Read and all further ones give ErrStopped. What
// comes is dropped from then on.
func (s *Stream) StopReading() {
	c := s.c
	c.mu.Lock()
	s.deaf = true
	s.giveBack()
	if c.grantConn() {
		c.kick()
	}
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recvErr == nil {
		s.recvErr = ErrStopped
	}
	s.in.Drop()
	s.arrived.Broadcast()
}

// Reset ends both directions out of order, unless they have ended. It never
// waits, and makes pending calls of others fail.
func (s *Stream) Reset(code Code) {
	c := s.c
	c.mu.Lock()
	if !s.closed {
		c.resetLocked(s, code)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	s.StopReading()
}

// resetAfter is Reset which also tells of a stream that has ended.
func (s *Stream) resetAfter(code Code) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !s.closed:
		c.resetLocked(s, code)
	case c.cause == nil && s.err == nil:
		c.out.pending = appendReset(c.out.pending, s.id, code)
		c.resets.add(s.id)
		c.kick()
	}
}

// Gone makes f be called, once, when the stream is reset by the peer or for what
// the peer did, or is lost with its connection; at once if it was. Nothing is
// called if it ends in order, or is reset by Reset. f must not wait. It takes the
// place of what was to be called before, and nil is nothing; before says that there
// was something which was not called, and now never will be.
func (s *Stream) Gone(f func()) (before bool) {
	s.c.mu.Lock()
	before = s.gone != nil
	s.gone = f
	now := f != nil && s.err != nil
	if now {
		s.gone = nil
	}
	s.c.mu.Unlock()
	if now {
		f()
	}
	return before
}

// fail ends both directions. What has arrived is dropped, unless the peer had
// ended its direction in order and this end did not ask for the reset: then it
// is whole and can still be read. It gives what Gone was given, to be called
// without mu, which the caller holds.
func (s *Stream) fail(err error, here bool) func() {
	if s.err != nil {
		return nil
	}
	s.err = err
	s.wrote.Broadcast()
	s.mu.Lock()
	if (here || !s.eof) && s.recvErr == nil {
		s.recvErr = err
		s.in.Drop()
		s.arrived.Broadcast()
	}
	s.mu.Unlock()
	gone := s.gone
	s.gone = nil
	return gone
}

// take takes what came for the stream: to where Read waits for it, the rest into
// blocks. Windows bound it. The read loop calls it, and it never waits.
func (s *Stream) take(p []byte, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recvErr != nil {
		return
	}
	if len(p) > 0 && s.want != nil && s.got == 0 && s.in.Len() == 0 {
		s.got = copy(s.want, p)
		p = p[s.got:]
	}
	s.in.Put(p)
	s.eof = s.eof || end
	s.arrived.Signal()
}

func (s *Stream) takeTrailers(f l7.Fields) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trailers, s.eof = f, true
	s.arrived.Signal()
}

func (s *Stream) takeHead(h l7.ResponseHead, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.response, s.headIn, s.headOnly, s.eof = h, true, end, end
	s.arrived.Signal()
}
