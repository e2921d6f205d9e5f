// Package standing knows the crossings that are open, and ends those that nobody
// stands behind any more: because a party is quarantined or is none of the policy,
// because a gateway was revoked, because an SVID has ended or is not trusted. What a
// decision let through is judged again here for as long as it goes on. It judges
// nothing itself, and records nothing.
//
// One invariant: whoever enters is judged by all that has changed since it was let
// through, however that falls together with entering.
package standing

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// shards keep crossings that open and end at the same time out of one another's
	// way. There are more than a gateway has processors.
	shards = 64
	// patience is how long a party on the outer side may take to hear of the end
	// before its connection is cut: one that reads nothing would never hear of it.
	patience = 2 * time.Second
	// pause is the least time between two reviews because of the ends of
	// credentials, which come one by one.
	pause = 100 * time.Millisecond
)

// Credential is what a party has shown, for as long as something stands on it. Its
// methods are called often and must not wait.
type Credential interface {
	// Expires is when it ends.
	Expires() time.Time
	// Check says why it does not hold any more; nil while it does.
	Check() error
}

// Cutter is a party on the outer side of a gateway. Any goroutine may call Cut.
type Cutter interface {
	// Cut breaks its connection, or its part of it, and must not wait.
	Cut()
}

// Reviewer judges who stands at the ends of a crossing, by what is in force at one
// moment.
type Reviewer interface {
	Judge(p *authz.Parties) (reason crossingv1.Reason, detail string)
}

// Crossing is one that is open: a part of whoever carries it, who fills in the
// fields, enters it and leaves.
type Crossing struct {
	authz.Parties
	Stream     tunnel.Stream // is reset with the reason
	Credential Credential    // of the party on the outer side; nil if nothing is to be held against it
	Outer      Cutter        // nil if it hears of the stream's end in any case
	Bearer     any           // who carries it, for those who visit

	// The shard's mutex guards what follows, and the fields above once it is entered.
	in         *shard // nil while it is not entered
	next, prev *Crossing
	ends       int64 // when the credential does, in Unix nanoseconds
	ended      *ended
}

// ended is why a crossing may not go on.
type ended struct {
	reason crossingv1.Reason
	detail string
	at     time.Time
	cut    bool
}

type shard struct {
	mu    sync.Mutex
	first *Crossing
	_     [48]byte // no two in one line of a cache
}

// Standing is the crossings of one gateway. A nil one knows nothing of any. All
// methods may be called concurrently.
type Standing struct {
	reviewer func() Reviewer
	shards   [shards]shard
	round    atomic.Uint64 // of reviews
	nearest  atomic.Int64  // end of a credential, in Unix nanoseconds
	wake     chan struct{} // holds one signal: nearest is nearer
	turn     sync.Mutex    // held during a review
}

// New makes one that knows of no crossing. The reviewer that it asks for judges by
// what is in force then.
func New(reviewer func() Reviewer) *Standing {
	s := &Standing{reviewer: reviewer, wake: make(chan struct{}, 1)}
	s.nearest.Store(math.MaxInt64)
	return s
}

// Round is to be asked for before a crossing is decided on, and given to Enter.
func (s *Standing) Round() uint64 {
	if s == nil {
		return 0
	}
	return s.round.Load()
}

// Enter makes a crossing stand, once its stream is open. It may be ended before
// Enter returns.
func (s *Standing) Enter(c *Crossing, round uint64) {
	if s == nil {
		return
	}
	in := &s.shards[rand.Uint64()%shards]
	c.ends = math.MaxInt64
	if c.Credential != nil {
		c.ends = c.Credential.Expires().UnixNano()
	}
	ends := c.ends
	in.mu.Lock()
	c.in, c.prev, c.next = in, nil, in.first
	if c.next != nil {
		c.next.prev = c
	}
	in.first = c
	in.mu.Unlock()
	s.expect(ends)
	if s.round.Load() != round {
		s.again(c)
	}
}

// again judges one crossing that a review may have missed.
func (s *Standing) again(c *Crossing) {
	r, now := s.reviewer(), time.Now()
	in := c.in // its own goroutine calls
	in.mu.Lock()
	defer in.mu.Unlock()
	c.judge(r, now)
}

// expect makes Run come back when a credential ends.
func (s *Standing) expect(ends int64) {
	for before := s.nearest.Load(); ends < before; before = s.nearest.Load() {
		if s.nearest.CompareAndSwap(before, ends) {
			select {
			case s.wake <- struct{}{}:
			default: // one is pending
			}
			return
		}
	}
}

// Show says what a crossing's outer party has shown, where that is met after it was
// entered.
func (s *Standing) Show(c *Crossing, shown Credential) {
	if s == nil || c.in == nil || shown == nil {
		return
	}
	ends := shown.Expires().UnixNano()
	c.in.mu.Lock()
	c.Credential, c.ends = shown, ends
	c.in.mu.Unlock()
	s.expect(ends)
}

// Move says that a crossing goes on in another form of its stream, with that party on
// the outer side; nil if it is nobody's to cut any more.
func (s *Standing) Move(c *Crossing, stream tunnel.Stream, outer Cutter) {
	if s == nil || c.in == nil {
		return
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.Stream, c.Outer = stream, outer
}

// Slim lets go of what the text of a crossing's source is a part of: it may be idle
// for long. Destination and peer are the policy's and the tunnel's. Its bearer does
// the same in bearer, while nobody visits it.
func (s *Standing) Slim(c *Crossing, bearer func()) {
	if s == nil || c.in == nil {
		bearer()
		return
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	bearer()
	if own, err := spiffeid.FromString(strings.Clone(c.Source.String())); err == nil {
		c.Source = own
	}
}

// Leave says that a crossing has ended, and tells why it had to, if it had: the
// reason is REASON_UNSPECIFIED if it ended by itself. Nobody knows of it afterwards.
func (s *Standing) Leave(c *Crossing) (reason crossingv1.Reason, detail string) {
	if s == nil || c.in == nil {
		return crossingv1.Reason_REASON_UNSPECIFIED, ""
	}
	in := c.in
	in.mu.Lock()
	if c.prev == nil {
		in.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	end := c.ended
	*c = Crossing{}
	in.mu.Unlock()
	if end == nil {
		return crossingv1.Reason_REASON_UNSPECIFIED, ""
	}
	return end.reason, end.detail
}

// Visit calls see with each crossing that is open, in no order: with those of one
// part, none of which enters or leaves meanwhile, and then rest, during which all may;
// then those of the next part. see must not wait, nor call Standing.
func (s *Standing) Visit(see func(c *Crossing), rest func()) {
	if s == nil {
		return
	}
	for i := range s.shards {
		in := &s.shards[i]
		in.mu.Lock()
		for c := in.first; c != nil; c = c.next {
			see(c)
		}
		in.mu.Unlock()
		rest()
	}
}

// Review judges all crossings that are open, and ends those that may not go on.
func (s *Standing) Review() {
	if s == nil {
		return
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	s.nearest.Store(math.MaxInt64) // who enters from now on says so again
	s.round.Add(1)
	r, now, due := s.reviewer(), time.Now(), int64(math.MaxInt64)
	for i := range s.shards {
		in := &s.shards[i]
		in.mu.Lock()
		for c := in.first; c != nil; c = c.next {
			due = min(due, c.judge(r, now))
		}
		in.mu.Unlock()
	}
	s.expect(due)
}

// judge ends a crossing that may not go on, and says when to look at it again. The
// caller holds its shard's mutex, so that it cannot leave meanwhile.
func (c *Crossing) judge(r Reviewer, now time.Time) int64 {
	if c.ended != nil {
		return c.insist(now)
	}
	reason, detail := r.Judge(&c.Parties)
	if reason == crossingv1.Reason_REASON_UNSPECIFIED {
		reason, detail = c.shown(now)
	}
	if reason == crossingv1.Reason_REASON_UNSPECIFIED {
		return c.ends
	}
	c.ended = &ended{reason: reason, detail: detail, at: now}
	c.Stream.Reset(tunnel.Denied(reason))
	return c.insist(now)
}

// shown holds the outer party's credential.
func (c *Crossing) shown(now time.Time) (crossingv1.Reason, string) {
	if c.Credential == nil {
		return crossingv1.Reason_REASON_UNSPECIFIED, ""
	}
	if end := c.Credential.Expires(); !now.Before(end) {
		return crossingv1.Reason_EXPIRED_IDENTITY, "the SVID that was shown ended at " + end.UTC().Format(time.RFC3339)
	}
	err := c.Credential.Check()
	switch {
	case err == nil:
		return crossingv1.Reason_REASON_UNSPECIFIED, ""
	case errors.Is(err, certs.ErrExpired):
		return crossingv1.Reason_EXPIRED_IDENTITY, err.Error()
	}
	return crossingv1.Reason_BAD_IDENTITY, err.Error()
}

// insist cuts the connection of a party that has not heard of the end, and says when
// it will.
func (c *Crossing) insist(now time.Time) int64 {
	end := c.ended
	if end.cut || c.Outer == nil {
		return math.MaxInt64
	}
	if at := end.at.Add(patience); now.Before(at) {
		return at.UnixNano()
	}
	end.cut = true
	c.Outer.Cut()
	return math.MaxInt64
}

// Run reviews whenever something has changed, and whenever the credential of an open
// crossing ends, until the context does. Changed gives a channel that is closed at
// the next change.
func (s *Standing) Run(ctx context.Context, changed func() <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		happened := changed()
		s.Review()
		if !s.await(ctx, happened, timer, time.Now().Add(pause)) {
			return
		}
	}
}

// await waits for what asks for a review: a change, or the end of a credential, for
// which there is none before earliest. It is false at the context's end.
func (s *Standing) await(ctx context.Context, happened <-chan struct{}, timer *time.Timer, earliest time.Time) bool {
	for {
		at := time.Unix(0, s.nearest.Load())
		if at.Before(earliest) {
			at = earliest
		}
		timer.Reset(time.Until(at))
		select {
		case <-ctx.Done():
			return false
		case <-happened:
			return true
		case <-timer.C:
			return true
		case <-s.wake:
		}
	}
}
