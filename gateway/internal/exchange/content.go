package exchange

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/agree"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// mostHeld is how much of a content is held before anything of its request goes
	// on, in bytes, unless its service says otherwise: what is pumped at once, too.
	mostHeld = sentFirst
	// firstHeld is the room for a content of which it is not known how long it is.
	firstHeld = 4 << 10
)

// held is a request's content that is looked at before it goes on: its head says
// something of it, or it alone says what is asked for. Nothing of it goes on before it
// has come as a whole and is good. Of a larger one, what has come goes on as long as
// nothing of it is at fault, but never the last byte: however its length is told,
// nobody takes it for whole before it is good as a whole.
type held struct {
	check *agree.Check // nil if the head says nothing of it
	asked *asked       // nil if nobody reads what it asks for
	from  io.Reader
	watch *watch
	most  int    // bytes that may be held
	store *Store // where room comes from that not everybody has
	taken int    // of it
	room  []byte // where came begins
	came  []byte // and was not given
	read  int    // bytes of came that asked has
	err   error  // io.EOF once all came and is good; nil while more may come
}

// newHeld reads the content from r. It is nil if there is nothing to look at.
func newHeld(head *l7.RequestHead, r io.Reader, a *asked, s *Store) *held {
	check := agree.New(head)
	if check == nil && a == nil {
		return nil
	}
	h := &held{check: check, asked: a, from: r, most: mostHeld, store: s}
	if check != nil {
		h.err = check.Err()
	}
	if a != nil {
		h.most = a.most
	}
	size := firstHeld
	if n, known, err := head.Fields.ContentLength(); known && err == nil {
		size = int(min(n+1, mostHeld)) // one more, for the end to come with the rest
	}
	h.room = make([]byte, min(size, h.most))
	return h
}

// hold takes in what may be held, and has it decided what it asks for. Then the
// content is whole and good, or there is more of it than that, or it does not go on for
// what is in err.
func (h *held) hold() {
	for h.err == nil && len(h.came) < h.most && (h.check != nil || !h.asked.settled()) && h.grow() {
		h.fill()
	}
	if h.asked != nil {
		h.asked.decide(time.Now())
	}
}

// fill reads more into the room that there is.
func (h *held) fill() {
	n, err := h.from.Read(h.room[len(h.came):])
	piece := h.room[len(h.came) : len(h.came)+n]
	h.came = h.room[:len(h.came)+n]
	h.watch.passed()
	if h.check != nil {
		if _, h.err = h.check.Write(piece); h.err != nil {
			return
		}
	}
	ended := errors.Is(err, io.EOF)
	if h.read, h.err = h.asked.take(h.came, h.read, ended); h.err != nil {
		return
	}
	if h.err = err; ended && h.check != nil && h.check.End() != nil {
		h.err = h.check.Err()
	}
}

// grow sees to it that there is room for more. There is none if too much is held
// already.
func (h *held) grow() bool {
	if len(h.came) < len(h.room) {
		copy(h.room, h.came)
		return true
	}
	size := min(2*len(h.room), h.most)
	if more := size - max(len(h.room), mostHeld); more > 0 {
		if !h.store.take(more) {
			return false
		}
		h.taken += more
	}
	h.room = append(make([]byte, 0, size), h.came...)[:size]
	return true
}

// release gives back the room that not everybody has.
func (h *held) release() {
	if h != nil && h.taken > 0 {
		h.store.give(h.taken)
		h.taken = 0
	}
}

// free lets go of all that it has.
func (h *held) free() {
	if h != nil {
		h.release()
		h.asked.close()
	}
}

// Read gives what was held, and what follows. Behind an error nothing is given any
// more, not even of what came before.
func (h *held) Read(p []byte) (int, error) {
	for {
		free := len(h.came)
		switch {
		case h.err == nil:
			free--
		case !errors.Is(h.err, io.EOF), free == 0:
			return 0, h.err
		}
		if free > 0 {
			return h.give(p, free), nil
		}
		h.follow()
		h.fill()
	}
}

// give gives some of what came, and was read.
func (h *held) give(p []byte, free int) int {
	n := copy(p, h.came[:free])
	h.came, h.read = h.came[n:], max(h.read-n, 0)
	return n
}

// follow goes on with the room that everybody has, once what was held has passed.
func (h *held) follow() {
	if len(h.room) > copyBuffer || len(h.room) < 2 {
		h.room = append(make([]byte, 0, copyBuffer), h.came...)[:copyBuffer]
		h.release()
		return
	}
	copy(h.room, h.came)
}

// Ready says that Read does not wait.
func (h *held) Ready() bool { return h.err != nil }

// Buffered is what is left of a content that is Ready, in bytes.
func (h *held) Buffered() int { return len(h.came) }

// fault is why the content is refused, and in which words; nil if it is not.
func (h *held) fault() *halt {
	if h.check != nil && h.check.Err() != nil {
		return &halt{crossingv1.Reason_DISAGREES, crossing.Detail(h.check.Err().Error())}
	}
	if e, ok := errors.AsType[*inspect.Error](h.err); ok {
		return &halt{crossingv1.Reason_UNREADABLE, crossing.Detail(e.Error())}
	}
	return nil
}

// sending is held content of a caller's.
type sending struct {
	*held
	io.Closer
}

// inspect holds the request back until it is known what it asks for, and its head and
// its content agree, as far as can be told. If it may not go on, the crossing has ended
// and the caller has its answer. A request of which the content broke off goes on to
// its end: so it is recorded, and the ingress gateway holds it back as well.
func (d *departure) inspect(v *authz.Verdict) bool {
	req := d.req
	h := newHeld(&req.Head, req.Body, newAsked(v, &req.Head, crossingv1.Side_EGRESS), d.cfg.Store)
	if h == nil {
		d.half.asks(v)
		return true
	}
	d.held = h
	slow := closing{req.Body}
	d.watch = newWatch(slow, d.cfg.Limits)
	h.watch = d.watch
	h.hold()
	d.cfg.unchanged(v)
	d.half.judged(v, d.cfg.Self.String(), d.opened)
	d.half.asks(v)
	switch why := h.fault(); {
	case d.watch.tooLate():
		d.half.End.Detail = "its content took longer than a limit"
		d.tooLate()
		d.refuse(v, crossingv1.Reason_OVER_LIMIT)
		return false
	case why != nil:
		d.half.End.Detail = why.detail
		d.disagrees = h.check
		d.refuse(v, why.reason)
		return false
	case !v.Allow:
		d.refuse(v, v.Reason)
		return false
	case req.Body != http.NoBody:
		req.Body = sending{h, req.Body}
	}
	return true
}

// closing stops the reading of a request that takes too long.
type closing struct{ io.Closer }

func (c closing) Reset(tunnel.ResetCode) { c.Close() }

// broke takes note that a request was broken off in the middle because of its content.
// Nobody reads that any more.
func (d *departure) broke() {
	if d.held == nil {
		return
	}
	if why := d.held.fault(); why != nil {
		d.disagrees, d.close.Detail = d.held.check, why.detail
	}
}

// delivery is held content out of a tunnel.
type delivery struct {
	*held
	body *requestBody
}

var _ upstream.Content = delivery{}

// Read tells the body, too, why there is no more.
func (d delivery) Read(p []byte) (int, error) {
	n, err := d.held.Read(p)
	if err != nil {
		d.tell()
	}
	return n, err
}

func (d delivery) tell() {
	if why := d.fault(); why != nil {
		d.body.halt(why.reason, why.detail)
	}
}

// Trailers are the body's.
func (d delivery) Trailers() l7.Fields { return d.body.Trailers() }

// inspect holds the request back until it is known what it asks for.
func (a *arrival) inspect(v *authz.Verdict, head *l7.RequestHead, ended bool) {
	a.watch = newWatch(a.stream, a.cfg.Limits)
	a.uploads(a.parties(), head, ended)
	a.body.begin(&a.in, ended, &a.cfg.Limits, a.watch, a.up, &a.count)
	ask := newAsked(v, head, crossingv1.Side_INGRESS)
	if ask != nil {
		a.held = newHeld(head, a.body.reader(), ask, a.cfg.Store)
		a.patience.limit(a.stream)
		a.held.hold()
		a.patience.over()
		a.cfg.unchanged(v)
		a.half.judged(v, a.cfg.Self.String(), a.opened)
	}
	a.half.asks(v)
}

// content gives what upstream gets of a request's content once it is known, as far as
// can be told, that it is good. It says whether the request may go on.
func (a *arrival) content(head *l7.RequestHead) (content upstream.Content, ok bool) {
	b := &a.body
	if a.held == nil {
		if a.held = newHeld(head, b.reader(), nil, a.cfg.Store); a.held == nil {
			return b.content(), true
		}
		a.held.hold()
	}
	given := delivery{a.held, b}
	given.tell()
	switch {
	case a.held.err != nil && !errors.Is(a.held.err, io.EOF):
		return nil, false
	case b.empty:
		return nil, true
	}
	return given, true
}
