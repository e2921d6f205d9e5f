// Package labelled holds the content of an answer against the label that it came with,
// while it passes.
//
// One invariant: nobody has an answer whole that is not what its label speaks of. Its last
// byte, or its end where nothing is in it, goes on only once the digest matches.
package labelled

import (
	"errors"

	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// errOther says that the content is another one.
var errOther = errors.New("the answer is not what its label speaks of")

// Answer is one that came with a label. A nil one came without, and passes. It is for one
// goroutine at a time.
type Answer struct {
	made   *authz.Answer
	digest *label.Digest // nil if the label is not good
	last   byte          // of what came: it waits
	came   bool          // there is one
	room   []byte        // what was given last
	reason crossingv1.Reason
	err    error // why it goes no further
}

// New begins to hold an answer of which a gateway made that; nil if it came without a
// label. One that has ended has no content.
func New(made *authz.Answer, ended bool) *Answer {
	if made == nil {
		return nil
	}
	a := &Answer{made: made}
	if made.Label != nil {
		a.digest = made.Label.Digest()
	}
	switch {
	case made.Reason != crossingv1.Reason_REASON_UNSPECIFIED:
		a.reason, a.err = made.Reason, errors.New(made.Detail)
	case ended:
		a.End(nil) //nolint:errcheck // Refused says it
	}
	return a
}

// Pass takes a piece of the content, and gives what goes on now. That is good until the
// next call. The error is final.
func (a *Answer) Pass(p []byte) ([]byte, error) {
	switch {
	case a == nil:
		return p, nil
	case a.err != nil:
		return nil, a.err
	case len(p) == 0:
		return nil, nil
	}
	a.digest.Write(p) //nolint:errcheck // it never fails
	a.room = a.room[:0]
	if a.came {
		a.room = append(a.room, a.last)
	}
	a.room = append(a.room, p[:len(p)-1]...)
	a.last, a.came = p[len(p)-1], true
	return a.room, nil
}

// End takes the content for whole with a last piece, and gives what goes on if it is what
// the label speaks of.
func (a *Answer) End(rest []byte) ([]byte, error) {
	out, err := a.Pass(rest)
	if a == nil || err != nil {
		return out, err
	}
	if !a.digest.Matches() {
		a.reason, a.err = crossingv1.Reason_BAD_LABEL, errOther
		return nil, a.err
	}
	if a.came {
		out = append(out, a.last)
	}
	return out, nil
}

// Refused is why the answer goes no further; REASON_UNSPECIFIED and nil if it does.
func (a *Answer) Refused() (crossingv1.Reason, error) {
	if a == nil {
		return crossingv1.Reason_REASON_UNSPECIFIED, nil
	}
	return a.reason, a.err
}

// Record is what the crossing's record says of it: of what class it is, and who signed
// that; nothing if it came without a good label.
func (a *Answer) Record() (class, labeler string) {
	if a == nil || a.made.Label == nil {
		return "", ""
	}
	return a.made.Class, a.made.Label.Labeler.String()
}
