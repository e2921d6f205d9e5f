// Package relay joins a tunnel's stream with a local connection: what a
// crossing of raw bytes is, at both gateways. It reads nothing of the bytes.
//
// One invariant holds: an end that was not meant is never passed on as one that
// was. A direction is ended only where the other side ended it in order.
package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/eof"
)

const (
	// copyBuffer is how much of each direction is in memory.
	copyBuffer = 32 << 10
	// grace is how long the local side may take what has arrived before the
	// stream was reset.
	grace = 2 * time.Second
)

// Local is what stands for a connection at this gateway's side.
type Local interface {
	// Read gives io.EOF at the end of what the local side says, and fails after
	// Interrupt.
	io.Reader
	// Write sends at once.
	io.Writer
	// CloseWrite tells the local side that nothing more comes.
	CloseWrite() error
	// Interrupt makes a Read that waits, and all further ones, fail.
	Interrupt()
	// Break makes a Write that waits fail too, at once or within a bounded time.
	Break()
}

// Join relays between the stream and the local connection, each way with an end
// of its own, until both directions have ended or one of the two has failed, and
// calls done then. If the connection fails, the stream is reset with code. What goes
// through is added to count. Join uses the stream's own relay where it has one, and
// Copy otherwise.
func Join(s tunnel.Stream, c net.Conn, code tunnel.ResetCode, count *tunnel.Count, done func(tunnel.Relayed)) {
	tcp, isTCP := c.(*net.TCPConn)
	if r, ok := s.(tunnel.Relayer); ok && isTCP {
		r.Relay(tcp, code, count, done)
		return
	}
	go func() { done(Copy(s, Conn(c), code, count)) }()
}

// Copy is Join of what stands for a connection, and returns at the end.
func Copy(s tunnel.Stream, local Local, code tunnel.ResetCode, count *tunnel.Count) tunnel.Relayed {
	j := join{stream: s, local: local, code: code, count: count}
	var both sync.WaitGroup
	over := make(chan struct{})
	both.Go(j.receive)
	both.Go(j.send)
	go func() {
		defer close(over)
		both.Wait()
	}()
	j.watch(over)
	<-over
	return j.outcome()
}

// Conn is a connection as Copy sees it.
func Conn(c net.Conn) Local { return &conn{Conn: c} }

type conn struct {
	net.Conn
	ended atomic.Bool // CloseWrite was called
}

// Read implements Local. A reset that Write was told of is no end.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if tcp, ok := c.Conn.(*net.TCPConn); ok && errors.Is(err, io.EOF) && wasReset(tcp) && !c.ended.Load() {
		err = syscall.ECONNRESET
	}
	return n, err
}

func wasReset(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	return err == nil && eof.Reset(raw)
}

func (c *conn) CloseWrite() error {
	c.ended.Store(true)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

func (c *conn) Interrupt() {
	c.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a connection that is closed has nobody who waits
}

func (c *conn) Break() {
	c.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // as above
}

// join is one relay. Its directions have a goroutine each.
type join struct {
	stream tunnel.Stream
	local  Local
	code   tunnel.ResetCode
	count  *tunnel.Count

	reading, writing  error // of the local side
	sending, arriving error // of the stream
}

// watch makes the local side let go once the stream was reset.
func (j *join) watch(over <-chan struct{}) {
	select {
	case <-j.stream.Done():
	case <-over:
	}
	if j.reset() == nil {
		return
	}
	j.local.Interrupt()
	select {
	case <-time.After(grace):
		j.local.Break()
	case <-over:
	}
}

// send carries what the local side says, until it ends or the stream does.
func (j *join) send() {
	buf := make([]byte, copyBuffer)
	for {
		n, err := j.local.Read(buf)
		if n > 0 {
			if _, j.sending = j.stream.Write(buf[:n]); j.sending != nil {
				return
			}
			j.count.Sent.Add(uint64(n))
		}
		if errors.Is(err, io.EOF) {
			j.sending = j.stream.CloseWrite()
			return
		}
		if err != nil {
			j.reading = err
			if j.reset() == nil { // else that interrupted the reading, and there may be more to receive
				j.stream.Reset(j.code)
			}
			return
		}
	}
}

// receive carries what the peer says, until it ends or the local side fails.
func (j *join) receive() {
	buf := make([]byte, copyBuffer)
	for {
		n, err := j.stream.Read(buf)
		if n > 0 {
			n, j.writing = j.local.Write(buf[:n])
			if j.count.Received.Add(uint64(n)); j.writing != nil {
				break
			}
		}
		if errors.Is(err, io.EOF) {
			j.writing = j.local.CloseWrite()
			break
		}
		if err != nil {
			j.arriving = err
			return
		}
	}
	if j.writing != nil {
		j.stream.Reset(j.code)
	}
}

// reset is why the stream was reset, nil if it was not.
func (j *join) reset() *tunnel.ResetError {
	var reset *tunnel.ResetError
	if _, err := j.stream.Write(nil); errors.As(err, &reset) {
		return reset
	}
	return nil
}

// outcome says how the relay ended. Whoever failed first made the other one
// fail.
func (j *join) outcome() tunnel.Relayed {
	var end tunnel.Relayed
	reset := j.reset()
	switch {
	case reset != nil && (reset.Remote || reset.Code != j.code):
		end.Stream = reset
	case j.writing != nil:
		end.Local = j.writing
	case j.reading != nil:
		end.Local = j.reading
	case j.arriving != nil:
		end.Stream = j.arriving
	case j.sending != nil:
		end.Stream = j.sending
	}
	return end
}
