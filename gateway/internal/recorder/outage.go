package recorder

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// outages knows whether crossings can be recorded.
type outages struct {
	mu   sync.Mutex // guards what follows
	last *crossingv1.Outage
}

// Outage is since when and why crossings have not been recorded, and what has become
// of them; nil if they are recorded. It has no end yet.
func (r *Recorder) Outage() *crossingv1.Outage {
	if err := r.spool.Trouble(); err != nil {
		r.outages.note(err, &crossingv1.Outage{})
	}
	r.outages.mu.Lock()
	defer r.outages.mu.Unlock()
	return proto.CloneOf(r.outages.last)
}

// note adds what became of crossings that could not be recorded.
func (o *outages) note(err error, more *crossingv1.Outage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last = &crossingv1.Outage{Began: timestamppb.Now(), Cause: causeOf(err), Detail: crossing.Detail(err.Error())}
	}
	o.last.Refused += more.GetRefused()
	o.last.Unrecorded += more.GetUnrecorded()
}

// take is the outage, to write that it has ended; nil if there is none.
func (o *outages) take() *crossingv1.Outage {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := o.last
	o.last = nil
	return last
}

// goesOn takes back that one has ended.
func (o *outages) goesOn(first *crossingv1.Outage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first.Ended = nil
	first.Refused += o.last.GetRefused()
	first.Unrecorded += o.last.GetUnrecorded()
	o.last = first
}

func causeOf(err error) crossingv1.Outage_Cause {
	switch {
	case errors.Is(err, spool.ErrFull), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return crossingv1.Outage_FULL
	case errors.Is(err, spool.ErrStalled):
		return crossingv1.Outage_STALLED
	}
	return crossingv1.Outage_FAILED
}

// unwritten decides what becomes of a crossing whose opening could not be written. It
// says whether the crossing goes on, and its opening waits.
func (r *Recorder) unwritten(frame []byte, err error, goesOn bool) bool {
	if errors.Is(err, spool.ErrClosed) {
		return false
	}
	if goesOn && r.late.opening(frame) {
		r.outages.note(err, &crossingv1.Outage{Unrecorded: 1})
		return true
	}
	r.outages.note(err, &crossingv1.Outage{Refused: 1})
	return false
}

// endOutage writes what an outage was, if it is over: that it can be written is what
// says so. Everything that waited was written before.
func (r *Recorder) endOutage() {
	if err := r.spool.Trouble(); err != nil {
		r.outages.note(err, &crossingv1.Outage{})
	}
	if !r.spool.Roomy() {
		return // or outages would come and go with each crossing
	}
	o := r.outages.take()
	if o == nil {
		return
	}
	// Clocks may go back; an outage does not.
	o.Ended = timestamppb.New(later(time.Now(), o.GetBegan().AsTime()))
	if err := r.Say(&crossingv1.Frame{Outage: o}, true); err != nil {
		r.outages.goesOn(o)
		return
	}
	r.cfg.Log.Warn("crossings are recorded again", zap.Stringer("cause", o.GetCause()), zap.Time("since", o.GetBegan().AsTime()),
		zap.Uint64("refused", o.GetRefused()), zap.Uint64("unrecorded", o.GetUnrecorded()))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
