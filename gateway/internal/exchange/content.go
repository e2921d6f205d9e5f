package exchange

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// sending is held content of a caller's.
type sending struct {
	*hold.Content
	io.Closer
}

// inspect holds the request back until it is known what it asks for, and that its
// content is good, as far as can be told. If it may not go on, the crossing has ended
// and the caller has its answer. A request of which the content broke off goes on to
// its end: so it is recorded, and the ingress gateway holds it back as well.
func (d *departure) inspect(v *authz.Verdict) bool {
	req := d.req
	c := hold.New(&req.Head, req.Body, v, crossingv1.Side_EGRESS, d.cfg.Store)
	if c == nil {
		d.half.Asks(v)
		return true
	}
	d.held = c
	c.Tell(d.lives)
	d.watch = pace.NewWatch(closing{req.Body}, d.cfg.Limits.times())
	c.Hold()
	d.cfg.unchanged(v)
	why := c.Fault()
	if why != nil && !crossing.Outage(why.Reason) {
		v.Unfit(why.Reason, why.Detail)
	}
	d.half.Judged(v, d.cfg.Self.String(), d.opened)
	d.half.Asks(v)
	switch {
	case d.watch.TooLate():
		d.half.End.Detail = "its content took longer than a limit"
		d.tooLate()
		d.refuse(v, crossingv1.Reason_OVER_LIMIT)
	case why != nil:
		d.half.End.Detail = why.Detail
		d.fault = why
		d.refuse(v, why.Reason)
	case !v.Allow:
		d.refuse(v, v.Reason)
	default:
		if req.Body != http.NoBody {
			req.Body = sending{c, req.Body}
		}
		return true
	}
	return false
}

// afford reserves what the request may come to of the caller's budgets. If there is no
// room, the crossing has ended and the caller has its answer.
func (d *departure) afford(v *authz.Verdict, now time.Time) bool {
	if d.retry = d.reserve(v, d.half.Source, inputOf(&d.req.Head, d.held), now); v.Allow {
		return true
	}
	d.half.Judged(v, d.cfg.Self.String(), d.opened)
	d.refuse(v, v.Reason)
	return false
}

// lives says that something of the exchange passes.
func (a *account) lives() { a.watch.Passed() }

// closing stops the reading of a request that takes too long.
type closing struct{ io.Closer }

func (c closing) Reset(tunnel.ResetCode) { c.Close() }

// broke takes note that a request was broken off in the middle because of its content.
// Nobody reads that any more.
func (d *departure) broke() {
	if d.sends != nil && d.sends.Refused() != nil {
		d.detail = crossing.Detail(d.sends.Refused().Error())
		d.close.Detail = d.detail
	}
	if d.held == nil {
		return
	}
	if d.fault = d.held.Fault(); d.fault != nil {
		d.close.Detail = d.fault.Detail
	}
}

// delivery is held content out of a tunnel.
type delivery struct {
	*hold.Content
	body *requestBody
}

var _ upstream.Content = delivery{}

// Read tells the body, too, why there is no more.
func (d delivery) Read(p []byte) (int, error) {
	n, err := d.Content.Read(p)
	if err != nil {
		d.tell()
	}
	return n, err
}

func (d delivery) tell() {
	if why := d.Fault(); why != nil {
		d.body.halt(why.Reason, why.Detail)
	}
}

// Trailers are the body's.
func (d delivery) Trailers() l7.Fields { return d.body.Trailers() }

// inspect holds the request back until it is known what it asks for, if the content
// tells that.
func (a *arrival) inspect(v *authz.Verdict, head *l7.RequestHead, ended bool) {
	a.watch = pace.NewWatch(a.stream, a.cfg.Limits.times())
	a.uploads(a.parties(), head, ended)
	a.body.begin(&a.in, ended, &a.cfg.Limits, a.watch, a.up, &a.count)
	a.held = hold.New(head, a.body.reader(), v, crossingv1.Side_INGRESS, a.cfg.Store)
	if a.held != nil && a.held.Reads() {
		a.patience.Limit(a.stream)
		a.held.Hold()
		a.patience.Over()
		a.cfg.unchanged(v)
		a.half.Judged(v, a.cfg.Self.String(), a.opened)
	}
}

// content gives what upstream gets of a request's content once it is known, as far as
// can be told, that it is good. It says whether the request may go on.
func (a *arrival) content() (content upstream.Content, ok bool) {
	b := &a.body
	if a.held == nil {
		return b.content(), true
	}
	if !a.held.Reads() {
		a.held.Hold()
	}
	given := delivery{a.held, b}
	given.tell()
	switch err := a.held.Err(); {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, false
	case b.empty:
		return nil, true
	}
	return given, true
}
