package exchange

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// patience resets a stream whose peer takes too long. It has one timer for all its
// streams, which follow one another.
type patience struct {
	stream tunnel.Stream
	timer  *time.Timer // nil before the first wait
	lost   bool        // it was too late for the timer to be stopped
}

// begin is for another stream.
func (p *patience) begin(s tunnel.Stream) { p.stream = s }

// limit bounds the time until over.
func (p *patience) limit(d time.Duration) {
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.lose)
	} else {
		p.timer.Reset(d)
	}
}

func (p *patience) lose() { p.stream.Reset(tunnel.ProtocolError) }

// over ends the wait.
func (p *patience) over() { p.lost = !p.timer.Stop() || p.lost }

// kept says that no wait took too long: otherwise lose may still be running.
func (p *patience) kept() bool { return !p.lost }
