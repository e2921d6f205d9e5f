package exchange

import (
	"context"
	"errors"
	"io"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/pace"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// data relays one frame's payload.
func (d *departure) data(frames *l7.FrameReader, buf []byte) crossingv1.Cause {
	for {
		n, err := frames.Read(buf)
		if n > 0 {
			if cause := d.piece(buf[:n]); cause != crossingv1.Cause_CAUSE_UNSPECIFIED {
				return cause
			}
		}
		if errors.Is(err, io.EOF) {
			return crossingv1.Cause_CAUSE_UNSPECIFIED
		}
		if err != nil {
			d.resp.Abort()
			return lost(err)
		}
	}
}

// piece relays a piece of the answer's content, as far as there is room for it.
func (d *departure) piece(p []byte) crossingv1.Cause {
	came := d.came()
	d.watch.Passed()
	n, none := d.flow.Pass(len(p))
	if n > 0 {
		if cause := d.take(p[:n]); cause != crossingv1.Cause_CAUSE_UNSPECIFIED {
			return cause
		}
		d.passedOn(came)
	}
	if none == nil {
		return crossingv1.Cause_CAUSE_UNSPECIFIED
	}
	d.resp.Abort()
	return d.stopped(none)
}

// take hands on what may pass.
func (d *departure) take(p []byte) crossingv1.Cause {
	if d.left -= int64(len(p)); d.left == 0 {
		d.unwatch() // who has all of the answer may leave
	}
	if d.kept.Answer(p) != nil {
		d.resp.Abort()
		return d.unkept()
	}
	out, forbidden := d.may(p)
	if forbidden != nil {
		d.resp.Abort()
		return crossingv1.Cause_REFUSED
	}
	if d.pass(out) != nil {
		return crossingv1.Cause_CALLER_GONE
	}
	d.count.Received.Add(uint64(len(p)))
	d.down.Pass(p)
	return crossingv1.Cause_CAUSE_UNSPECIFIED
}

// stopped says why an answer does not pass on, of which there is more.
func (d *departure) stopped(err error) crossingv1.Cause {
	if pace.Deny(d.stream, err) {
		return crossingv1.Cause_REFUSED
	}
	if reset, ok := errors.AsType[*tunnel.ResetError](err); ok {
		return lost(reset)
	}
	return crossingv1.Cause_CALLER_GONE
}

// pass gives the caller a piece of the answer's content.
func (d *departure) pass(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := d.resp.Write(p)
	return err
}

// pass sends a piece of the answer's content into the tunnel, without what the caller
// may not get.
func (a *arrival) pass(running context.Context, p []byte) crossingv1.Cause {
	out, err := a.may(p)
	return a.send(running, out, err)
}

// passLast sends what is still to go on when all of it has come.
func (a *arrival) passLast(running context.Context) crossingv1.Cause {
	out, err := a.mayLast()
	return a.send(running, out, err)
}

func (a *arrival) send(running context.Context, out []byte, err error) crossingv1.Cause {
	if err != nil {
		return crossingv1.Cause_REFUSED
	}
	if len(out) == 0 {
		return crossingv1.Cause_CAUSE_UNSPECIFIED
	}
	n, none := a.flow.Pass(len(out))
	if n > 0 {
		if a.out.Data(out[:n]) != nil {
			return a.broken(running)
		}
		a.count.Sent.Add(uint64(n))
		a.down.Pass(out[:n])
	}
	if none == nil {
		return crossingv1.Cause_CAUSE_UNSPECIFIED
	}
	a.out.Flush() //nolint:errcheck // a lost stream shows in what broken says
	if errors.Is(none, pace.ErrOverBudget) {
		return crossingv1.Cause_REFUSED
	}
	return a.broken(running)
}
