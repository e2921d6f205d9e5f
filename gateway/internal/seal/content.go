package seal

import (
	"sync"
)

// Content is what is kept of one crossing, while it passes. All methods of nil do nothing:
// most crossings have none. Request and Answer may be called at once, each by one goroutine.
type Content struct {
	request, answer piece
}

// piece is what is kept of a request or of an answer.
type piece struct {
	mu   sync.Mutex // guards what follows
	into interface {
		// take takes what passes next. Once it has failed it is not called again.
		take(p []byte) error
		// end says that nothing follows.
		end(broken bool) Kept
	}
	err   error
	ended bool
}

// Summary is what was kept of a crossing, for its record. None of it tells what the
// content was.
type Summary struct {
	Request, Answer Kept
}

// Kept is what was kept of a request or of an answer.
type Kept struct {
	// Digest is "hmac-sha256:SALT:HEX" of a hash, "sha256:HEX" of the sealed file, and
	// empty if no content passed.
	Digest string
	Cut    bool // more passed than was sealed
	Broken bool // not all of it could be kept
}

// Request takes the next piece of the request, before it is forwarded. If it fails the
// piece must not be: the crossing is to end as not recorded.
func (c *Content) Request(p []byte) error {
	if c == nil {
		return nil
	}
	return c.request.take(p)
}

// Answer takes the next piece of the answer, as Request does.
func (c *Content) Answer(p []byte) error {
	if c == nil {
		return nil
	}
	return c.answer.take(p)
}

// Close ends it, whatever passed, and says what was kept. What passes later is not kept.
// Another call says the same, and nothing of digests.
func (c *Content) Close() Summary {
	if c == nil {
		return Summary{}
	}
	return Summary{c.request.end(), c.answer.end()}
}

func (p *piece) take(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.ended || len(b) == 0 {
		return p.err
	}
	p.err = p.into.take(b)
	return p.err
}

func (p *piece) end() (k Kept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		k = p.into.end(p.err != nil)
	}
	k.Broken = k.Broken || p.err != nil
	return k
}
