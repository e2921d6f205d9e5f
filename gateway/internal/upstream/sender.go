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

// rest is where the content goes that is still coming of a request.
type rest interface {
	// goesOn says that somebody still wants it.
	goesOn() bool
	write(p []byte) error
	// end is called once all was written.
	end()
	// broken is called where it will not be, for what Read or write gave.
	broken(err error)
	// hasReturned is called last, by the goroutine that wrote.
	hasReturned()
}

// sendRest sends what is still coming of a request, while its answer may already
// come. It ends by itself, but for a Read of the content, which nobody here can
// interrupt.
func sendRest(r *Request, to rest) {
	defer r.sending.Done() // and nobody uses to any more
	defer to.hasReturned()
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for to.goesOn() {
		n, err := r.Body.Read(*buf)
		if n > 0 {
			if werr := to.write((*buf)[:n]); werr != nil {
				to.broken(werr)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			to.end()
			return
		}
		if err != nil {
			to.broken(err)
			return
		}
	}
}

// sender is the rest of a request in HTTP/1.1.
type sender struct {
	r      *Request
	writer http1.RequestWriter

	mu     sync.Mutex    // guards what follows
	c      *conn         // nil when the answer is over
	ending bool          // it reads no more, and writes the last bytes
	whole  bool          // all was written
	done   bool          // it has returned
	heard  bool          // the answer's head has come
	limit  time.Duration // until then, from the request's end
}

// startSender leaves the rest of the request to a goroutine of its own.
func (t *call) startSender() {
	if t.sender = t.spare; t.sender == nil {
		t.sender = new(sender)
	}
	s := t.sender
	s.r, s.c, s.limit = t.r, t.c, t.pool.u.limits.FirstByte
	s.ending, s.whole, s.done, s.heard = false, false, false, false
	// Its own writer has the memory that the next call's will have.
	s.writer, t.writer = t.writer, s.writer
	t.r.sending.Add(1)
	go sendRest(t.r, t.sender)
}

var _ rest = (*sender)(nil)

func (s *sender) hasReturned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
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
	if s.c != nil && !s.heard {
		_ = s.c.SetReadDeadline(time.Now().Add(s.limit))
	}
}

// answered says that the answer's head has come: its wait has no bound any more.
func (s *sender) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = true
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

// finish ends it, and says whether the whole request was written, and whether it
// has returned: then it is free for another call.
func (s *sender) finish() (whole, done bool) {
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
	return s.whole, s.done
}
