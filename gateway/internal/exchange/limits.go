package exchange

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
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
	a.watch.stop()
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

// watch resets the stream of a crossing that takes too long. A nil watch does
// nothing: most gateways have no such limit.
type watch struct {
	limits Limits
	began  time.Time
	last   atomic.Int64 // when something passed, since it began

	mu     sync.Mutex // guards what follows
	stream resetter
	timer  *time.Timer
	late   bool // the stream was reset
	over   bool
}

// resetter is what a watch needs of a stream.
type resetter interface{ Reset(code tunnel.ResetCode) }

// newWatch watches a stream from now on.
func newWatch(s resetter, l Limits) *watch {
	if l.Silence == 0 && l.Total == 0 {
		return nil
	}
	w := &watch{stream: s, limits: l, began: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.left(), w.check)
	return w
}

// follow watches another stream from now on, as if it had from the beginning. A nil
// watch begins here.
func (w *watch) follow(s resetter, l Limits) *watch {
	if w == nil {
		return newWatch(s, l)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream = s; w.late {
		s.Reset(tunnel.Refused)
	}
	return w
}

// tooLate says that the stream was reset.
func (w *watch) tooLate() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.late
}

// quiet is the same limits for what may be silent.
func (l Limits) quiet() Limits {
	l.Silence = 0
	return l
}

// passed says that something passes, in whatever direction.
func (w *watch) passed() {
	if w != nil && w.limits.Silence > 0 {
		w.last.Store(int64(time.Since(w.began)))
	}
}

// left is the time until the next limit, unless something passes.
func (w *watch) left() time.Duration {
	now := time.Since(w.began)
	silence, total := w.limits.Silence-(now-time.Duration(w.last.Load())), w.limits.Total-now
	switch {
	case w.limits.Silence == 0:
		return total
	case w.limits.Total == 0:
		return silence
	}
	return min(silence, total)
}

func (w *watch) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	if left := w.left(); left > 0 {
		w.timer.Reset(left)
		return
	}
	w.late = true
	w.stream.Reset(tunnel.Refused)
}

func (w *watch) stop() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
}
