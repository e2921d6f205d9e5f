package exchange

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Limits bound a crossing, whatever the policy says. Zero is no limit.
type Limits struct {
	RequestBytes uint64        // of one request's content
	Silence      time.Duration // of an exchange, in both directions at a time
	Total        time.Duration // of an exchange or a byte stream
}

// errTooLarge says that a request's content is beyond its limit.
var errTooLarge = errors.New("the request's content is larger than a limit")

// tooLong says of a request that tells the length of its content whether it is
// beyond the limit, and how.
func (l *Limits) tooLong(head *l7.RequestHead) (detail string, is bool) {
	if l.RequestBytes == 0 {
		return "", false
	}
	n, known, err := head.Fields.ContentLength()
	if err != nil || !known || n <= 0 || uint64(n) <= l.RequestBytes {
		return "", false
	}
	return fmt.Sprintf("content of %d bytes, at most %d", n, l.RequestBytes), true
}

// tooLarge and tooLate give the answer to a caller the status that fits: that of
// the reason alone is another limit's.
func (d *departure) tooLarge() {
	d.status, d.detail = http.StatusRequestEntityTooLarge, errTooLarge.Error()
}

func (d *departure) tooLate() {
	d.status, d.detail = http.StatusGatewayTimeout, "it took longer than a limit"
}

// exceeds says that so much content is too much.
func (l *Limits) exceeds(n uint64) bool { return l.RequestBytes > 0 && n > l.RequestBytes }

// enter counts the crossing among its caller's, unless they are enough.
func (a *account) enter(caller string) bool {
	if !a.cfg.Quota.Enter(caller) {
		return false
	}
	a.caller = caller
	return true
}

// release lets go of what the crossing holds while it goes on. Only the first
// call counts.
func (a *account) release() {
	a.watch.Stop()
	if a.caller != "" {
		a.cfg.Quota.Leave(a.caller)
		a.caller = ""
	}
}

// beyond is the reason that goes with a cause where nothing else gave one: only
// the limits of time end a crossing by resetting its stream as refused without
// saying why. The error is what the stream gave, if it was asked.
func beyond(err error, cause crossingv1.Cause, otherwise crossingv1.Reason) crossingv1.Reason {
	if why := deniedBy(err); why != crossingv1.Reason_REASON_UNSPECIFIED {
		return why
	}
	if cause == crossingv1.Cause_REFUSED || cause == crossingv1.Cause_REFUSED_BY_PEER {
		return crossingv1.Reason_OVER_LIMIT
	}
	return otherwise
}

// times are those of an exchange.
func (l Limits) times() pace.Limits { return pace.Limits{Silence: l.Silence, Total: l.Total} }

// quiet are those of what may be silent.
func (l Limits) quiet() pace.Limits { return pace.Limits{Total: l.Total} }
