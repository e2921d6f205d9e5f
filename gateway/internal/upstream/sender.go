package upstream

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http1"
)

// lastWrite bounds the wait for the request's last bytes to be written once the
// answer is whole.
const lastWrite = 50 * time.Millisecond

// copyBuffers are for content on its way.
var copyBuffers = sync.Pool{New: func() any {
	b := make([]byte, 32<<10)
	return &b
}}

// sender writes what is still coming of a request, while its answer may already
// come. It ends by itself, but for a Read of the content, which nobody here can
// interrupt.
type sender struct {
	r      *Request
	writer http1.RequestWriter

	mu     sync.Mutex // guards what follows
	c      *conn      // nil when the answer is over
	ending bool       // it reads no more, and writes the last bytes
	whole  bool       // all was written
}

// startSender leaves the rest of the request to a goroutine of its own.
func (t *call) startSender() {
	t.sender = &sender{r: t.r, writer: t.writer, c: t.c}
	t.writer = http1.RequestWriter{}
	t.r.sending.Add(1)
	go t.sender.run()
}

func (s *sender) run() {
	defer s.r.sending.Done()
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for s.goesOn() {
		n, err := s.r.Body.Read(*buf)
		if n > 0 {
			if werr := s.write((*buf)[:n]); werr != nil {
				s.broken(werr)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			s.end()
			return
		}
		if err != nil {
			s.broken(err)
			return
		}
	}
}

func (s *sender) goesOn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c != nil
}

// write sends content at once, and notes when that was all.
func (s *sender) write(p []byte) error {
	if _, err := s.writer.Write(p); err != nil {
		return err
	}
	if err := s.writer.Flush(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = s.writer.Whole()
	return nil
}

func (s *sender) end() {
	s.mu.Lock()
	s.ending = s.c != nil
	ending := s.ending
	s.mu.Unlock()
	if !ending {
		return
	}
	err := s.writer.End(s.r.Body.Trailers())
	if err == nil {
		err = s.writer.Flush()
	}
	if err != nil {
		s.broken(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = true
}

// broken breaks the connection, so that the destination does not take half a
// request for a whole one. Where it is the connection that has failed, an answer
// may still be in it.
func (s *sender) broken(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = false
	if failed, ok := errors.AsType[net.Error](err); ok && !failed.Timeout() {
		return
	}
	if s.c != nil {
		s.c.cut()
	}
}

// finish ends it, and says whether the whole request was written.
func (s *sender) finish() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.c
	if s.ending && !s.whole {
		s.mu.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(lastWrite))
		s.r.sending.Wait()
		_ = c.SetWriteDeadline(time.Time{})
		s.mu.Lock()
	}
	s.c = nil
	return s.whole
}
