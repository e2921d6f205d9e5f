package hold

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/coding"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// asked reads from a request's content what it asks for, and has it decided once all is
// known of that, or all that may be held has come.
//
// Both gateways must know the same when they decide, however the content is cut on its
// way. So each reads the same bytes before that: all of them, or as many as may be held
// but one. The egress gateway is one byte behind until it has the end, for it keeps one
// back: what it has read, the ingress gateway gets.
type asked struct {
	verdict *authz.Verdict
	request inspect.Request
	into    io.Writer       // what came: the request, or its decoder
	decoder *coding.Decoder // nil if the content has no coding
	behind  int             // bytes that came and are not read, before the end
	judged  bool            // it was decided
	needed  bool            // by what the content says
	moot    bool            // nobody asks what it says, and nothing of that is recorded
	ended   bool
	fault   error // why it cannot be understood
}

// newAsked is for the content of a request on that side; nil if nobody reads it.
func newAsked(v *authz.Verdict, head *l7.RequestHead, side crossingv1.Side) *asked {
	if v.Request() == nil {
		return nil
	}
	a := &asked{verdict: v, request: v.Request(), into: v.Request(), behind: 1}
	decoder, err := coding.New(coding.Of(head.Fields), a.request, policy.MaxHold)
	if a.fault = unreadable(err); decoder != nil {
		a.decoder, a.into = decoder, decoder
	}
	if side == crossingv1.Side_INGRESS {
		a.behind = 0
	}
	return a
}

// mostOf is how much of a content is held on that side, in bytes.
func mostOf(v *authz.Verdict, side crossingv1.Side) int {
	if side == crossingv1.Side_INGRESS {
		return v.Service.Hold - 1
	}
	return v.Service.Hold
}

// take reads what came from the place read on, and gives the place up to which it was
// read. Behind the decision, an error says why the content must not go on.
func (a *asked) take(came []byte, read int, ended bool) (int, error) {
	if a == nil {
		return read, nil
	}
	if a.moot {
		return len(came), nil
	}
	upTo := len(came)
	if !ended {
		upTo = max(upTo-a.behind, read)
	}
	if a.fault == nil && !a.ended {
		a.understand(came[read:upTo], ended)
		a.confirm()
	}
	if a.judged && a.fault != nil && (a.needed || errors.Is(a.fault, inspect.ErrAmbiguous)) {
		return upTo, a.fault
	}
	return upTo, nil
}

func (a *asked) understand(piece []byte, ended bool) {
	_, a.fault = a.into.Write(piece)
	if a.ended = ended; ended && a.decoder != nil && a.fault == nil {
		a.fault = a.decoder.End()
	}
	if ended && a.fault == nil {
		a.fault = a.request.End()
	}
	a.fault = unreadable(a.fault)
}

// confirm holds that what was decided before the end stands with all that is known at
// the end.
func (a *asked) confirm() {
	if !a.ended || !a.judged || a.fault != nil {
		return
	}
	whole := *a.verdict
	switch whole.Again(time.Now()); {
	case !whole.Allow:
		a.needed = true
		a.fault = inspect.Unreadable("what it asks for at its end is not allowed: "+whole.Reason.String(), nil)
	case !a.verdict.Covers(&whole):
		a.needed = true
		a.fault = inspect.Unreadable("what it asks for at its end needs a guard that was not asked", nil)
	}
}

// unreadable is why a content cannot be understood: also if its coding cannot be undone.
func unreadable(err error) error {
	if _, ok := errors.AsType[*inspect.Error](err); ok || err == nil {
		return err
	}
	return inspect.Unreadable(err.Error(), err)
}

// close lets go of what decodes the content.
func (a *asked) close() {
	if a != nil && a.decoder != nil {
		a.decoder.Close() //nolint:errcheck // it never fails
	}
}

// decide has the request decided by what is known.
func (a *asked) decide(now time.Time) {
	v := a.verdict
	a.needed, a.judged = v.Pending, true
	if a.fault != nil {
		a.moot = !a.needed
		v.Unread(crossing.Detail(a.fault.Error()))
		return
	}
	if v.Again(now); v.Pending {
		v.Unread(fmt.Sprintf("what it asks for is not known within the first %d bytes", v.Service.Hold))
	}
}
