// Package hold looks at a request's content before it goes on: whether its head says
// the same of it, what it asks for, and whether it is what its label speaks of.
//
// One invariant: nobody takes a content for whole that is at fault. Nothing of it goes
// on before it has come as a whole and is good, or is more than may be held. Of a larger
// one, what has come goes on as long as nothing of it is at fault, but never the last
// byte before all of it is good: however its length is told.
package hold

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/admission"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/agree"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// Usual is how much of a content is held, in bytes, unless its service says otherwise.
	Usual = 64 << 10
	// firstRoom is the room for a content of which it is not known how long it is.
	firstRoom = 4 << 10
	// passing is how much of a content that is longer than what is held is there at a time.
	passing = 32 << 10
)

// errLabel says that a content is not what its label speaks of.
var errLabel = errors.New("the content is not what its label speaks of")

// Content is that of one request. It is an io.Reader of what goes on, and not safe for
// concurrent use.
type Content struct {
	check   *agree.Check  // nil if the head says nothing of it
	asked   *asked        // nil if nobody reads what it asks for
	digest  *label.Digest // nil if it has no label
	verdict *authz.Verdict
	side    crossingv1.Side // of the gateway
	from    io.Reader
	passed  func() // is told when something came; may be nil
	most    int    // bytes that may be held
	store   *Store // where room comes from that not everybody has
	taken   int    // of it
	room    []byte // where came begins
	came    []byte // and was not given
	read    int    // bytes of came that asked has
	err     error  // io.EOF once all came and is good; nil while more may come
}

// New reads the content from r, of a request that a gateway on that side has decided on,
// as far as its head told. It is nil if there is nothing to look at.
func New(head *l7.RequestHead, r io.Reader, v *authz.Verdict, side crossingv1.Side, s *Store) *Content {
	check, asked := agree.New(head), newAsked(v, head, side)
	guarded := v.Guarded(side)
	if check == nil && asked == nil && v.Label == nil && !guarded {
		return nil
	}
	c := &Content{check: check, asked: asked, verdict: v, side: side, from: r, most: Usual, store: s}
	if check != nil {
		c.err = check.Err()
	}
	if v.Label != nil {
		c.digest = v.Label.Digest()
	}
	if asked != nil || c.digest != nil || guarded {
		c.most = mostOf(v, side)
	}
	size := firstRoom
	if n, known, err := head.Fields.ContentLength(); known && err == nil {
		size = int(min(n+1, Usual)) // one more, for the end to come with the rest
	}
	c.room = make([]byte, min(size, c.most))
	return c
}

// Tell has a function called whenever something comes.
func (c *Content) Tell(passed func()) { c.passed = passed }

// Reads says that there is something to read before it is decided whether the request
// may go on.
func (c *Content) Reads() bool {
	return c.asked != nil || c.digest != nil || c.verdict.Guarded(c.side)
}

// Hold takes in what may be held, and has it decided what it asks for. Then the content
// is whole and good, or there is more of it than that, or it does not go on for what is
// in Fault.
func (c *Content) Hold() {
	for c.err == nil && len(c.came) < c.most && c.grow() {
		c.fill()
	}
	if c.asked != nil {
		c.asked.decide(time.Now())
	}
	if c.err == nil && c.verdict.Whole && c.verdict.Allow {
		c.err = errLabel // nothing of it may go on before all of it is known
	}
	if c.err == nil && c.verdict.Guarded(c.side) {
		c.unseen()
	}
}

// unseen denies what a guard must see all of, and more came than is held.
func (c *Content) unseen() {
	if len(c.came) < c.most {
		c.verdict.Unguarded(crossingv1.Reason_GUARD_UNAVAILABLE, "a guard must see all of the content, and there is no room to hold it now")
		return
	}
	c.verdict.Unguarded(crossingv1.Reason_GUARD_REFUSED,
		fmt.Sprintf("a guard must see all of the content, and it is longer than the %d bytes that are held of it", c.most-1))
}

// Whole is all of a content that is held, as it came, of which nothing was given yet; ok
// is false if there is more, or it is at fault.
func (c *Content) Whole() (content []byte, ok bool) { return c.came, errors.Is(c.err, io.EOF) }

// fill reads more into the room that there is.
func (c *Content) fill() {
	n, err := c.from.Read(c.room[len(c.came):])
	piece := c.room[len(c.came) : len(c.came)+n]
	c.came = c.room[:len(c.came)+n]
	if c.passed != nil {
		c.passed()
	}
	if c.err = c.look(piece, errors.Is(err, io.EOF)); c.err == nil {
		c.err = err
	}
}

// look holds a piece, and the end, against all that is said of the content.
func (c *Content) look(piece []byte, ended bool) (err error) {
	if c.check != nil {
		if _, err = c.check.Write(piece); err != nil {
			return err
		}
	}
	if c.digest != nil {
		c.digest.Write(piece) //nolint:errcheck // it never fails
	}
	if c.read, err = c.asked.take(c.came, c.read, ended); err != nil || !ended {
		return err
	}
	if c.check != nil {
		if err = c.check.End(); err != nil {
			return err
		}
	}
	if c.digest != nil && !c.digest.Matches() {
		return errLabel
	}
	return nil
}

// grow sees to it that there is room for more. There is none if too much is held
// already.
func (c *Content) grow() bool {
	if len(c.came) < len(c.room) {
		return true
	}
	size := min(2*len(c.room), c.most)
	if more := size - max(len(c.room), Usual); more > 0 {
		if !c.store.take(more) {
			return false
		}
		c.taken += more
	}
	c.room = append(make([]byte, 0, size), c.came...)[:size]
	return true
}

// release gives back the room that not everybody has.
func (c *Content) release() {
	if c.taken > 0 {
		c.store.give(c.taken)
		c.taken = 0
	}
}

// Free lets go of all that it has. It may be nil, and be called more than once.
func (c *Content) Free() {
	if c != nil {
		c.release()
		c.asked.close()
	}
}

// Read gives what was held, and what follows. Behind an error nothing is given any
// more, not even of what came before.
func (c *Content) Read(p []byte) (int, error) {
	for {
		free := len(c.came)
		switch {
		case c.err == nil:
			free--
		case !errors.Is(c.err, io.EOF), free == 0:
			return 0, c.err
		}
		if free > 0 {
			n := copy(p, c.came[:free])
			c.came, c.read = c.came[n:], max(c.read-n, 0)
			return n, nil
		}
		c.follow()
		c.fill()
	}
}

// follow goes on with the room that everybody has, once what was held has passed.
func (c *Content) follow() {
	if len(c.room) == passing {
		copy(c.room, c.came)
	} else {
		c.room = append(make([]byte, 0, passing), c.came...)[:passing]
		c.release()
	}
	c.came = c.room[:len(c.came)]
}

// Err is io.EOF once all came and is good; nil while more may come; else why it does not
// go on.
func (c *Content) Err() error { return c.err }

// Ready says that Read does not wait.
func (c *Content) Ready() bool { return c.err != nil }

// Buffered is what is left of a content that is Ready, in bytes; 0 of nil.
func (c *Content) Buffered() int {
	if c == nil {
		return 0
	}
	return len(c.came)
}

// Fault is why a content is refused.
type Fault struct {
	Reason crossingv1.Reason
	Detail string
	// Check is what found it, if the head says something else of the content; else nil.
	Check *agree.Check
}

// Fault is why the content is refused; nil if it is not.
func (c *Content) Fault() *Fault {
	if c.check != nil && c.check.Err() != nil {
		return &Fault{crossingv1.Reason_DISAGREES, crossing.Detail(c.check.Err().Error()), c.check}
	}
	if reason := ReasonOf(c.err); reason != crossingv1.Reason_REASON_UNSPECIFIED {
		return &Fault{reason, crossing.Detail(c.err.Error()), nil}
	}
	return nil
}

// ReasonOf is the reason why a content is refused whose reading ended with err.
func ReasonOf(err error) crossingv1.Reason {
	if _, ok := errors.AsType[*agree.Error](err); ok {
		return crossingv1.Reason_DISAGREES
	}
	if _, ok := errors.AsType[*inspect.Error](err); ok {
		return crossingv1.Reason_UNREADABLE
	}
	if _, ok := errors.AsType[*admission.Error](err); ok {
		return crossingv1.Reason_DIGEST_NOT_ALLOWED
	}
	if errors.Is(err, errLabel) {
		return crossingv1.Reason_BAD_LABEL
	}
	return crossingv1.Reason_REASON_UNSPECIFIED
}

// Faulty says that a reason is one of those that ReasonOf gives.
func Faulty(reason crossingv1.Reason) bool {
	switch reason {
	case crossingv1.Reason_DISAGREES, crossingv1.Reason_UNREADABLE, crossingv1.Reason_BAD_LABEL, crossingv1.Reason_DIGEST_NOT_ALLOWED:
		return true
	}
	return false
}
