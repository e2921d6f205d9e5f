// Package guard asks programs of an operator's whether a content may pass: scanners for
// data that must not leave, classifiers of prompts, whatever speaks the one interface of
// FORMAT.md. No guard is built in.
//
// One invariant: whatever a guard does, nothing but a well-formed pass is a pass, and
// nothing that it says can bring a piece of the content into a record.
package guard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/coding"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Question is a content, and what is known of the request that it is of. What is empty
// is not known, or not there.
type Question struct {
	Crossing            string // its id
	Side                crossingv1.Side
	Caller, Destination string // SPIFFE IDs
	Service, Protocol   string // as the policy names them
	Operation           string // as the record names it; that of the first of several
	Model, Tool         string // that it asks for
	DataClass           string
	Method, Target      string // of the request's head; the target is its path and its query
	ContentType, Coding string // of the content
	Content             []byte // as it came
}

// Answer is what a guard said.
type Answer struct {
	Verdict  crossingv1.Guarded_Verdict // VERDICT_UNSPECIFIED if there is none
	Rule     string                     // that decided; "" if it names none
	Findings []string                   // names of what it found
	Took     time.Duration              // from when it was to be asked
	Fault    string                     // why there is no verdict, in words of this package alone
	// Unshown says that the content cannot be shown to it: nothing would come of asking
	// again.
	Unshown bool
}

// Passes says that the content may go on.
func (a *Answer) Passes() bool { return a.Verdict == crossingv1.Guarded_PASS }

// Guards are those that a gateway can ask, by name. It is safe for concurrent use; nil
// has none.
type Guards struct{ by map[string]*place }

// place is where one is.
type place struct {
	Place
	url    string
	client *http.Client
	slots  chan struct{} // one for each question under way
}

// Ask asks a guard. The content is used until it returns. It asks no longer than ctx
// lasts, nor than the guard's timeout.
func (g *Guards) Ask(ctx context.Context, name string, q *Question) Answer {
	began := time.Now()
	a := g.ask(ctx, name, q)
	a.Took = time.Since(began)
	return a
}

func (g *Guards) ask(ctx context.Context, name string, q *Question) Answer {
	var p *place
	if g != nil {
		p = g.by[name]
	}
	if p == nil {
		return Answer{Fault: "the gateway's bootstrap file does not say where it is"}
	}
	asking, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-asking.Done():
		return Answer{Fault: late(ctx, "it has too much under way")}
	}
	content, fault := p.shown(q)
	if fault != "" {
		return Answer{Fault: fault, Unshown: true}
	}
	return p.post(ctx, asking, name, q, content)
}

// shown is the content without its coding, as inspectors read it.
func (p *place) shown(q *Question) (content []byte, fault string) {
	most := int64(p.ContentBytes)
	var plain bytes.Buffer
	decoder, err := coding.New(q.Coding, &plain, most)
	if err == nil && decoder == nil {
		if int64(len(q.Content)) > most {
			err = coding.ErrTooLong
		}
		content = q.Content
	}
	if decoder != nil {
		defer decoder.Close() //nolint:errcheck // it never fails
		if _, err = decoder.Write(q.Content); err == nil {
			err = decoder.End()
		}
		content = plain.Bytes()
	}
	switch {
	case errors.Is(err, coding.ErrTooLong):
		return nil, "the content is longer than the " + strconv.FormatInt(most, 10) + " bytes that it is shown"
	case err != nil:
		return nil, "the content's coding cannot be undone"
	}
	return content, ""
}

// post asks while asking lasts, which ends with ctx, the caller's.
func (p *place) post(ctx, asking context.Context, name string, q *Question, content []byte) Answer {
	r, err := http.NewRequestWithContext(asking, http.MethodPost, p.url, bytes.NewReader(content))
	if err != nil {
		return Answer{Fault: "it cannot be asked at its url"}
	}
	describe(r.Header, name, q)
	resp, err := p.client.Do(r)
	if err != nil {
		return Answer{Fault: fault(ctx, asking, "it cannot be reached")}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Answer{Fault: "it answers with status " + strconv.Itoa(resp.StatusCode)}
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return Answer{Fault: fault(ctx, asking, "its answer broke off")}
	}
	a, err := parse(text)
	if err != nil {
		return Answer{Fault: "its answer: " + err.Error()}
	}
	return a
}

// fault is why nothing came of a question.
func fault(ctx, asking context.Context, otherwise string) string {
	if asking.Err() != nil {
		return late(ctx, "it says nothing in time")
	}
	return otherwise
}

// late is why it is too late for an answer.
func late(ctx context.Context, otherwise string) string {
	if ctx.Err() != nil {
		return "the caller left before it said anything"
	}
	return otherwise
}
