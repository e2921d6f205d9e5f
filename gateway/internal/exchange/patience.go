package exchange

import (
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// peerPatience is how long is waited for a peer gateway at least, and at most twice
// as long.
const peerPatience = 5 * time.Second

// patience resets a stream whose peer takes too long. Nearly no wait takes as long
// as to set a timer does: so one timer, which runs on, looks at whatever wait there
// is, and ends one that it has seen before.
type patience struct {
	mu     sync.Mutex // guards what follows
	stream tunnel.Stream
	seen   bool // the wait for it, at the last look
	timer  *time.Timer
	runs   bool
}

// limit bounds the wait for a stream's peer until over.
func (p *patience) limit(s tunnel.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stream, p.seen = s, false
	switch {
	case p.runs:
		return
	case p.timer == nil:
		p.timer = time.AfterFunc(peerPatience, p.look)
	default:
		p.timer.Reset(peerPatience)
	}
	p.runs = true
}

// over ends the wait: the stream is not touched any more.
func (p *patience) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stream = nil
}

func (p *patience) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs = p.stream != nil && !p.seen; p.runs {
		p.seen = true
		p.timer.Reset(peerPatience)
	} else if p.stream != nil {
		p.stream.Reset(tunnel.ProtocolError)
	}
}
