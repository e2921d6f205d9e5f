package exchange

import (
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// keep begins to keep what the policy says of the content. The egress gateway does: it is
// of the environment whose workload asks. If nothing can be kept, the crossing has ended
// and the caller has its answer.
func (d *departure) keep(v *authz.Verdict) bool {
	what, any := v.Kept()
	if !any {
		return true
	}
	if d.req.Head.Method == http.MethodConnect {
		d.half.End.Detail = "intent " + v.Intent + " has its content kept, and nobody sees that of a byte stream"
		d.refuse(v, crossingv1.Reason_NOT_ENFORCEABLE)
		return false
	}
	kept, err := d.cfg.Sealer.Begin(d.id, crossingv1.Side_EGRESS, what)
	if err != nil {
		d.half.End.Detail = crossing.Detail(err.Error())
		d.refuse(v, crossingv1.Reason_NOT_RECORDED)
		return false
	}
	d.kept = kept
	return true
}

// unkept is why an answer goes no further that cannot be kept.
func (d *departure) unkept() crossingv1.Cause {
	d.unrecorded = true
	return crossingv1.Cause_REFUSED
}

// keeps is what the crossing's record says of what was kept; nil if nothing was to be.
func (a *account) keeps() *crossingv1.Kept {
	if a.kept == nil {
		return nil
	}
	s := a.kept.Close()
	return &crossingv1.Kept{
		Request: crossing.Word(s.Request.Digest), Answer: crossing.Word(s.Answer.Digest),
		Cut: s.Request.Cut || s.Answer.Cut, Broken: s.Request.Broken || s.Answer.Broken,
	}
}
