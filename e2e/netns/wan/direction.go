//go:build linux

package wan

import (
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// direction is one way over the path: what is read at one end is written at the
// other, later.
type direction struct {
	delay, queue time.Duration
	loss         float64
	rate         int64
	random       *rand.Rand
	cut          *atomic.Bool
	packets      sync.Pool    // of *packet
	travelling   chan *packet // in the order of their arrival

	free                        time.Time // when the link has sent all that waits for it
	delivered, lost, overflowed atomic.Uint64
}

// packet is one on its way.
type packet struct {
	bytes []byte // of a larger room
	due   time.Time
}

// most packets on their way at a time: two bandwidth-delay products at the
// largest rate that the relay can keep up with.
const most = 1 << 16

func newDirection(c Config, random *rand.Rand, cut *atomic.Bool) *direction {
	if c.Queue == 0 {
		c.Queue = 50 * time.Millisecond
	}
	return &direction{
		delay: c.Delay, queue: c.Queue, loss: c.Loss, rate: c.Rate, random: random, cut: cut,
		packets:    sync.Pool{New: func() any { return &packet{bytes: make([]byte, mtu)} }},
		travelling: make(chan *packet, most),
	}
}

// read takes packets until the device is closed.
func (d *direction) read(from io.Reader) {
	defer close(d.travelling)
	for {
		p := d.packets.Get().(*packet)
		p.bytes = p.bytes[:cap(p.bytes)]
		n, err := from.Read(p.bytes)
		if err != nil {
			return
		}
		p.bytes = p.bytes[:n]
		if !d.admit(p, time.Now()) {
			d.packets.Put(p)
		}
	}
}

// admit decides a packet's fate: lost on the way, dropped at the queue's tail,
// or due at a time.
func (d *direction) admit(p *packet, now time.Time) bool {
	if d.cut.Load() || d.loss > 0 && d.random.Float64() < d.loss {
		d.lost.Add(1)
		return false
	}
	if d.free.Before(now) {
		d.free = now
	}
	if d.free.Sub(now) > d.queue || len(d.travelling) == cap(d.travelling) {
		d.overflowed.Add(1)
		return false
	}
	if d.rate > 0 {
		d.free = d.free.Add(time.Duration(int64(len(p.bytes)) * 8 * int64(time.Second) / d.rate))
	}
	p.due = d.free.Add(d.delay)
	d.travelling <- p
	return true
}

// write delivers each packet when it is due.
func (d *direction) write(to io.Writer) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for p := range d.travelling {
		if wait := time.Until(p.due); wait > 0 {
			timer.Reset(wait)
			<-timer.C
		}
		if _, err := to.Write(p.bytes); err == nil {
			d.delivered.Add(1)
		}
		d.packets.Put(p)
	}
}
