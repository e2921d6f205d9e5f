package epochs

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// listener names in the record what was refused here.
const listener = "statements"

// Why something that a peer said is refused, as metrics have it.
const (
	malformed     = "malformed"  // it is not what may be said there
	unsigned      = "signature"  // its signature is not good, or its key is nobody's
	strange       = "party"      // it is of a chain that is not the two gateways'
	unsound       = "unsound"    // it is well formed, and cannot be
	diverges      = "diverges"   // it is not what was said before
	tooMuch       = "over_limit" // there is more of it than is heard
	tooSlow       = "too_slow"   // it does not come
	refusedByPeer = "refused"    // the peer says so of what this gateway said
)

// fault is something that a peer said and that is refused.
type fault struct {
	reason string
	err    error
}

// Error says why.
func (f *fault) Error() string { return f.err.Error() }

// Unwrap gives the cause.
func (f *fault) Unwrap() error { return f.err }

// faulty gives an error its reason.
func faulty(reason string, err error) error {
	if err == nil {
		return nil
	}
	return &fault{reason, err}
}

// reasonOf is why something is refused; "" if that is not the peer's doing.
func reasonOf(err error) string {
	if f, is := errors.AsType[*fault](err); is {
		return f.reason
	}
	return ""
}

// refusalOf is the reason of a claim's refusal.
func refusalOf(why *statement.RefusedError) string {
	if why.Code == crossingv1.Refused_BEHIND {
		return diverges
	}
	return unsound
}

// hear reads a message.
func hear(r io.Reader) (*crossingv1.Talk, error) {
	t, err := statement.ReadTalk(r)
	switch {
	case err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF):
		return t, err
	}
	return nil, faulty(malformed, err)
}

// heard is what went wrong in a stream: a wait that took too long is the peer's fault,
// and so is an end in the middle of a message.
func heard(ctx context.Context, err error) error {
	switch {
	case err == nil || reasonOf(err) != "":
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return faulty(tooSlow, ctx.Err())
	case errors.Is(err, io.EOF):
		return faulty(malformed, io.ErrUnexpectedEOF)
	}
	return err
}

// refuse counts what a peer said and was not taken: it is a signal to who watches.
func (k *Keeper) refuse(peer spiffeid.ID, err error) {
	reason := reasonOf(err)
	if reason == "" {
		k.cfg.Log.Debug("statements broke off", zap.Stringer("peer", peer), zap.Error(err))
		return
	}
	k.cfg.Meter.Mistold(reason)
	k.recorder.Refuse(crossingv1.Reason_MALFORMED, netip.AddrPort{}, listener, peer.String()+": "+err.Error())
}
