package exchange

import (
	"io"
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/admission"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/labelled"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// control begins to hold what moves against the digests that are required, and denies by
// the request's head what may not. It says whether the verdict is another one now.
func (a *account) control(v *authz.Verdict, p transfer.Parties, head *l7.RequestHead) (denied bool) {
	a.admission = admission.New(v.Digests(), a.cfg.Manifests, p)
	if err := a.admission.Request(head); err != nil {
		v.Unlisted(crossing.Detail(err.Error()))
		a.half.Judged(v, a.cfg.Self.String(), a.opened)
		return true
	}
	return false
}

// outgoing is a caller's content that is held against digests.
type outgoing struct {
	*admission.Reader
	io.Closer
}

// admit holds the request against the digests that its intent requires. If it may not go
// on, the crossing has ended and the caller has its answer.
func (d *departure) admit(v *authz.Verdict) bool {
	if len(v.Digests()) == 0 {
		return true
	}
	req := d.req
	if d.control(v, d.parties(), &req.Head) {
		d.detail = v.Detail
		d.refuse(v, v.Reason)
		return false
	}
	if req.Body != http.NoBody {
		d.sends = d.admission.Reader(&req.Head, req.Body)
		req.Body = outgoing{d.sends, req.Body}
	}
	return true
}

// admit holds the request against the digests that its intent requires.
func (a *arrival) admit(v *authz.Verdict, head *l7.RequestHead) {
	if v.Allow && len(v.Digests()) > 0 {
		a.control(v, a.parties(), head)
	}
}

// incoming is content out of a tunnel that is held against digests.
type incoming struct {
	*admission.Reader
	upstream.Content
	body *requestBody
}

// admitted is the content as far as it may go on.
func (a *arrival) admitted(c upstream.Content, head *l7.RequestHead) upstream.Content {
	if a.admission == nil || c == nil {
		return c
	}
	return incoming{a.admission.Reader(head, c), c, &a.body}
}

// Read tells the body, too, why there is no more.
func (i incoming) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	if refused := i.Reader.Refused(); refused != nil {
		i.body.halt(crossingv1.Reason_DIGEST_NOT_ALLOWED, crossing.Detail(refused.Error()))
	}
	return n, err
}

// Ready says that all the rest is at hand.
func (i incoming) Ready() bool { return i.Reader.Ready() }

// forbidden is why an answer goes no further than it has; REASON_UNSPECIFIED if it does.
func (a *account) forbidden() (crossingv1.Reason, error) {
	if err := a.heard.Forbidden(); err != nil {
		return crossingv1.Reason_FORBIDDEN_ANSWER, err
	}
	if err := a.answers.Refused(); err != nil {
		return crossingv1.Reason_DIGEST_NOT_ALLOWED, err
	}
	return a.labelled.Refused()
}

// begins looks at the head of an answer, and at what its label says, and says whether it
// may go on.
func (a *account) begins(v *authz.Verdict, req *l7.RequestHead, answer *l7.ResponseHead, ended bool) bool {
	if !ended {
		a.heard = a.says(v, answer)
	}
	a.labelled = labelled.New(a.cfg.Authz.Answer(v, answer, a.opened), ended)
	a.answers = a.admission.Answer(req, answer, ended)
	_, byLabel := a.labelled.Refused()
	return byLabel == nil && a.answers.Refused() == nil
}

// may is what goes on now of a piece of an answer.
func (a *account) may(p []byte) ([]byte, error) {
	out, err := a.heard.Pass(p)
	if err != nil {
		return nil, err
	}
	if out, err = a.answers.Pass(out); err != nil {
		return nil, err
	}
	return a.labelled.Pass(out)
}

// mayLast is what is still to go on when all of an answer has come.
func (a *account) mayLast() ([]byte, error) {
	rest, err := a.heard.End()
	if err != nil {
		return nil, err
	}
	if rest, err = a.answers.End(rest); err != nil {
		return nil, err
	}
	return a.labelled.End(rest)
}
