package statement

import (
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Means are what a review needs beside the account.
type Means struct {
	// Run of the ingress gateway.
	Run string
	// Policy in force; nil if there is none.
	Policy *crossingv1.PolicyRef
	// Signer of the answer.
	Signer *Signer
	// Frames reads the ingress gateway's own frames.
	Frames Frames
	// Offset is how far the egress gateway's clock is ahead of this one, as measured.
	Offset time.Duration
}

// Review is one claim on its way to an answer. It is for one goroutine.
type Review struct{}

// Step is what to do next in a review: exactly one of its fields is set.
type Step struct {
	// Wait until then, or until Ready of the review is closed, and step again.
	Wait time.Time
	// Ask the egress gateway, and give Told what it tells.
	Ask *crossingv1.Ask
	// Answer is the whole statement: write it down durably, call Commit, and send it.
	Answer *crossingv1.Statement
}

// Review begins the review of a claim that the egress gateway signed with that
// key; one of the claim that was answered last gives that answer again. The error
// is a *RefusedError.
func (i *Ingress) Review(s *crossingv1.Statement, k *Key, m Means, now time.Time) (*Review, error) {
	panic("to come")
}

// Ready is closed when there is nothing left to wait for.
func (r *Review) Ready() <-chan struct{} { panic("to come") }

// Step says what to do next. The error is a *RefusedError.
func (r *Review) Step(now time.Time) (Step, error) { panic("to come") }

// Told takes what the egress gateway told, to the last Ask. The error is a
// *RefusedError: it is no answer to the question.
func (r *Review) Told(t *crossingv1.Told) error { panic("to come") }

// Commit makes the answer the account's: what it is about is stated. Of an answer
// that was given again it does nothing.
func (r *Review) Commit() { panic("to come") }

// RefusedError says why a claim is not answered.
type RefusedError struct {
	// Code and Last are as in Refused.
	Code crossingv1.Refused_Code
	Last *crossingv1.Statement
	// Why, in words that the peer may read.
	Why string
}

// Error is Why.
func (e *RefusedError) Error() string { return e.Why }

// Message is what the peer is told; the caller adds the announcement of Last's key.
func (e *RefusedError) Message() *crossingv1.Refused {
	return &crossingv1.Refused{Why: e.Why, Code: e.Code, Last: e.Last}
}
