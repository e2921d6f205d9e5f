package exchange

import (
	"errors"
	"io"
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/agree"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// mostHeld is how much of a content is held before anything of its request goes
	// on, in bytes: what is pumped at once, too.
	mostHeld = sentFirst
	// firstHeld is the room for a content of which it is not known how long it is.
	firstHeld = 4 << 10
)

// compared is a request's content of which the head says something. Nothing of it
// goes on before it has come as a whole and agrees. Of a larger one, what has come
// goes on as long as nothing of it disagrees, but never the last byte: however its
// length is told, nobody takes it for whole before it agrees as a whole.
type compared struct {
	check *agree.Check
	from  io.Reader
	watch *watch
	room  []byte // where held begins
	held  []byte // came, and was not given
	err   error  // io.EOF once all came and agrees; nil while more may come
}

// newCompared reads the content from r. It is nil if there is nothing to compare.
func newCompared(head *l7.RequestHead, r io.Reader) *compared {
	check := agree.New(head)
	if check == nil {
		return nil
	}
	size := firstHeld
	if n, known, err := head.Fields.ContentLength(); known && err == nil {
		size = int(min(n+1, mostHeld)) // one more, for the end to come with the rest
	}
	return &compared{check: check, from: r, err: check.Err(), room: make([]byte, size)}
}

// hold takes in what may be held. Then the content is whole and agrees, or there is
// more of it than that, or it does not go on for what is in err.
func (c *compared) hold() {
	for c.err == nil && len(c.held) < mostHeld {
		c.fill()
	}
}

// fill reads more. There is room for it, or there will be.
func (c *compared) fill() {
	size := len(c.room)
	if len(c.held) == size {
		size = min(2*size, mostHeld)
	}
	if size > len(c.room) {
		c.room = append(make([]byte, 0, size), c.held...)[:size]
	} else {
		copy(c.room, c.held)
	}
	n, err := c.from.Read(c.room[len(c.held):])
	came := c.room[len(c.held) : len(c.held)+n]
	c.held = c.room[:len(c.held)+n]
	c.watch.passed()
	if _, c.err = c.check.Write(came); c.err != nil || err == nil {
		return
	}
	c.err = err
	if errors.Is(err, io.EOF) && c.check.End() != nil {
		c.err = c.check.Err()
	}
}

// Read gives what was held, and what follows. Behind an error nothing is given any
// more, not even of what came before.
func (c *compared) Read(p []byte) (int, error) {
	for {
		free := len(c.held)
		switch {
		case c.err == nil:
			free--
		case !errors.Is(c.err, io.EOF), free == 0:
			return 0, c.err
		}
		if free > 0 {
			n := copy(p, c.held[:free])
			c.held = c.held[n:]
			return n, nil
		}
		c.fill()
	}
}

// Ready says that Read does not wait.
func (c *compared) Ready() bool { return c.err != nil }

// Buffered is what is left of a content that is Ready, in bytes.
func (c *compared) Buffered() int { return len(c.held) }

// sending is compared content of a caller's.
type sending struct {
	*compared
	io.Closer
}

// agrees holds the request back until its head and its content agree, as far as can
// be told. If they do not, the crossing has ended and the caller has its answer. A
// request of which the content broke off goes on to its end: so it is recorded, and
// the ingress gateway holds it back as well.
func (d *departure) agrees(v *authz.Verdict) bool {
	req := d.req
	c := newCompared(&req.Head, req.Body)
	if c == nil {
		return true
	}
	slow := closing{req.Body}
	d.watch = newWatch(slow, d.cfg.Limits)
	c.watch = d.watch
	c.hold()
	switch {
	case d.watch.tooLate():
		d.half.End.Detail = "its content took longer than a limit"
		d.tooLate()
		d.refuse(v, crossingv1.Reason_OVER_LIMIT)
		return false
	case c.check.Err() != nil:
		d.half.End.Detail = crossing.Detail(c.check.Err().Error())
		d.disagrees = c.check
		d.refuse(v, crossingv1.Reason_DISAGREES)
		return false
	case req.Body != http.NoBody:
		req.Body = sending{c, req.Body}
	}
	return true
}

// closing stops the reading of a request that takes too long.
type closing struct{ io.Closer }

func (c closing) Reset(tunnel.ResetCode) { c.Close() }

// disagreed takes note that a request was broken off in the middle because its head
// and its content disagree. Nobody reads the content any more.
func (d *departure) disagreed() {
	if s, ok := d.req.Body.(sending); ok {
		d.disagrees = s.check
		d.close.Detail = crossing.Detail(s.check.Err().Error())
	}
}

// delivery is compared content out of a tunnel.
type delivery struct {
	*compared
	body *requestBody
}

var _ upstream.Content = delivery{}

// Read tells the body, too, why there is no more.
func (d delivery) Read(p []byte) (int, error) {
	n, err := d.compared.Read(p)
	if err != nil {
		d.tell()
	}
	return n, err
}

func (d delivery) tell() {
	if err := d.check.Err(); err != nil {
		d.body.halt(crossingv1.Reason_DISAGREES, crossing.Detail(err.Error()))
	}
}

// Trailers are the body's.
func (d delivery) Trailers() l7.Fields { return d.body.Trailers() }

// hold gives what upstream gets of a request's content once it is known, as far as
// can be told, that the head agrees with it. It says whether the request may go on.
func (b *requestBody) hold(head *l7.RequestHead) (content upstream.Content, ok bool) {
	var from io.Reader = b
	if b.err != nil {
		from = http.NoBody
	}
	c := newCompared(head, from)
	if c == nil {
		return b.content(), true
	}
	c.hold()
	given := delivery{c, b}
	given.tell()
	switch {
	case c.err != nil && !errors.Is(c.err, io.EOF):
		return nil, false
	case from == http.NoBody:
		return nil, true
	}
	return given, true
}
