package pace

import (
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// PeerPatience is how long is waited for a peer gateway at least, and at most twice
// as long.
const PeerPatience = 5 * time.Second

// Patience resets a stream whose peer takes too long. Nearly no wait takes as long
// as to set a timer does: so one timer, which runs on, looks at whatever wait there
// is, and ends one that it has seen before.
type Patience struct {
	mu     sync.Mutex // guards what follows
	stream tunnel.Stream
	seen   bool // the wait for it, at the last look
	timer  *time.Timer
	runs   bool
}

// Limit bounds the wait for a stream's peer until Over.
func (p *Patience) Limit(s tunnel.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stream, p.seen = s, false
	switch {
	case p.runs:
		return
	case p.timer == nil:
		p.timer = time.AfterFunc(PeerPatience, p.look)
	default:
		p.timer.Reset(PeerPatience)
	}
	p.runs = true
}

// Over ends the wait: the stream is not touched any more.
func (p *Patience) Over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stream = nil
}

func (p *Patience) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs = p.stream != nil && !p.seen; p.runs {
		p.seen = true
		p.timer.Reset(PeerPatience)
	} else if p.stream != nil {
		p.stream.Reset(tunnel.ProtocolError)
	}
}
