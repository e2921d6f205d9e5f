package quictunnel

import (
	"bufio"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// controlHard is when a peer that makes us answer faster than it reads is cut
// off, in bytes beyond what it takes.
const controlHard = 64 << 10

// controlOutput is what is still to be written to the control stream. Frames
// leave at once while the tunnel's window lasts, and wait here when streams that
// nobody reads have used it up.
type controlOutput struct {
	mu      sync.Mutex // guards what follows
	pending []byte
}

// say writes frames to the control stream, now or as soon as there is credit.
// It never waits. The error is a fault.
func (c *conn) say(frames []byte) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.pending = append(c.out.pending, frames...)
	if len(c.out.pending) == 0 {
		return nil
	}
	err := c.control.TryWriteAll(c.out.pending)
	if !errors.Is(err, quic.ErrWouldBlock) {
		c.out.pending = c.out.pending[:0] // written, or the connection has ended
		return nil
	}
	if len(c.out.pending) > controlHard {
		return &mux.FaultError{Reason: mux.Flood}
	}
	return nil
}

// readLoop takes the peer's frames on the control stream.
func (c *conn) readLoop() {
	r := bufio.NewReaderSize(c.control, 512)
	for {
		f, err := readControl(r)
		if err == nil {
			err = c.hear(f)
		}
		if err != nil {
			c.broke(err)
			return
		}
	}
}

func (c *conn) hear(f controlFrame) error {
	switch f.kind {
	case mux.Ping:
		return c.say(mux.AppendPong(nil, mux.Probe{Opaque: f.probe.Opaque, Clock: time.Now()}))
	case mux.Pong:
		rtt := c.qc.ConnectionStats().SmoothedRTT
		c.mu.Lock()
		defer c.mu.Unlock()
		c.probes.answered(f.probe, time.Now(), rtt)
		return nil
	case mux.GoAway:
		return c.goingAway(f)
	}
	return nil
}
