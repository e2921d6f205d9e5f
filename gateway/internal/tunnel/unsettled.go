package tunnel

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// mostKept is how much of what was written is kept to be said again. A crossing
	// that has said more stays where it is.
	mostKept = 64 << 10
	// verdict is how long a crossing that was said twice, and has more to say than
	// is kept, waits to hear that one of the two came second.
	verdict = time.Second
)

// unsettled is a stream as Pick's tunnels open it. Until the first byte of its
// answer comes, the crossing can be said again in another tunnel to the same
// peer, which takes each crossing once, whichever comes first. Then the stream
// in which the answer comes is chosen, the other one is reset, and all goes on
// in the chosen one as if it had been the only one.
type unsettled struct {
	pool  *Pool
	class Class
	known uint64 // how many tunnels had been added before it was opened

	next, prev *unsettled // in its tunnel's unanswered, whose mu guards them
	seen       bool       // somebody has taken it from there, and may still have it; as those

	settled atomic.Bool // nothing is to be done here any more
	chosen  *telling    // mu guards it until settled

	mu        sync.Mutex // guards what follows
	changed   sync.Cond
	first     telling
	second    telling // its stream is nil until it was opened
	header    *kept   // the crossing's, encoded; nil once it is settled
	kept      *kept   // what was written; nil once it is all told where it has to be
	direct    bool    // that is so, and writes go straight to the chosen one
	ended     bool    // CloseWrite was called
	writing   bool    // somebody writes to the first, without the lock
	moved     bool    // it is said again: what is written is kept, and feed tells it
	feeding   bool    // feed runs
	listening bool    // listen reads the second
	waits     bool    // somebody waits for the verdict
	done      chan struct{}

	early []byte // what listen has read, for who reads once it has returned
}

var (
	_ Finisher = (*unsettled)(nil)
	_ Releaser = (*unsettled)(nil)
)

var spareUnsettled = sync.Pool{New: func() any {
	u := new(unsettled)
	u.changed.L = &u.mu
	return u
}}

// telling is a crossing as it was said in one tunnel.
type telling struct {
	stream Stream
	member *member
	choice Choice // why here and not where it was picked; 0 if it is here
	told   int    // how much of what is kept
	ended  bool   // and that this is all
}

// kept is a buffer for what was said.
type kept struct{ b []byte }

func (k *kept) free() {
	k.b = k.b[:0]
	spareKept.Put(k)
}

var spareKept = sync.Pool{New: func() any { return &kept{b: make([]byte, 0, 4<<10)} }}

// newUnsettled wraps a stream that was opened in the tunnel that was picked.
func newUnsettled(t *picked, s Stream, h *crossingv1.Header, known uint64, why Choice) *unsettled {
	u := spareUnsettled.Get().(*unsettled)
	u.pool, u.header, u.class, u.known = t.pool, spareKept.Get().(*kept), t.class, known
	u.header.b, _ = crossing.AppendHeader(u.header.b, h) // the tunnel has sent it, so that it can be encoded
	u.first = telling{stream: s, member: t.member, choice: why}
	t.member.open.enter(u)
	u.pool.watched.stir()
	return u
}

// Release implements Releaser. What is said again has others who may still use it.
func (u *unsettled) Release() {
	if !u.settled.Load() || u.moved || u.seen || u.done != nil {
		return
	}
	stream := u.first.stream
	u.pool, u.chosen, u.first = nil, nil, telling{}
	u.direct, u.ended, u.writing = false, false, false
	u.settled.Store(false)
	spareUnsettled.Put(u)
	Release(stream)
}

// Settled gives the stream in which the crossing's answer comes, once some of
// it was read, for who has no other use for what Pick's tunnel gave. Any other
// stream it gives as it is.
func Settled(s Stream) Stream {
	u, ok := s.(*unsettled)
	if !ok {
		return s
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.chosen != nil && !u.settled.Load() {
		u.changed.Wait()
	}
	if u.chosen == nil || u.chosen == &u.second && u.early != nil {
		return s
	}
	return u.chosen.stream
}

// Moved describes the tunnel that a stream is in, if it is another one than was
// picked.
func Moved(s Stream) (Info, bool) {
	u, ok := s.(*unsettled)
	if !ok {
		return Info{}, false
	}
	u.mu.Lock()
	at := u.at()
	u.mu.Unlock()
	if at.choice == 0 {
		return Info{}, false
	}
	i := at.member.Info()
	i.Choice = at.choice
	return i, true
}

// at is where the crossing is, as far as is known. The caller holds mu.
func (u *unsettled) at() *telling {
	if u.chosen != nil {
		return u.chosen
	}
	return &u.first
}

// Header implements Stream.
func (u *unsettled) Header() *crossingv1.Header { return u.first.stream.Header() }

// Read implements Stream. Whatever the first stream gives is an answer, or ends
// the crossing unless it was said again.
func (u *unsettled) Read(p []byte) (int, error) {
	if u.settled.Load() {
		return u.readChosen(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	u.mu.Lock()
	early := u.chosen == nil
	u.mu.Unlock()
	if early {
		n, err := u.first.stream.Read(p)
		if u.heard(&u.first, n, err) == &u.first {
			return n, err
		}
	}
	u.mu.Lock()
	for u.chosen == &u.second && u.listening {
		u.changed.Wait()
	}
	u.mu.Unlock()
	return u.readChosen(p)
}

// readChosen reads where the answer comes, and first what listen has read.
func (u *unsettled) readChosen(p []byte) (int, error) {
	if u.chosen == &u.first || u.early == nil || len(p) == 0 {
		return u.chosen.stream.Read(p)
	}
	n := copy(p, u.early)
	u.early = nil // it was a byte
	return n, nil
}

// heard takes what reading one of the streams gave first, and gives the one that
// is chosen.
func (u *unsettled) heard(t *telling, n int, err error) *telling {
	u.mu.Lock()
	defer u.mu.Unlock()
	other := &u.second
	if t == other {
		other, u.listening = &u.first, false
	}
	switch {
	case u.chosen != nil:
		u.settle()
	case n == 0 && unheard(err) && other.stream != nil:
		u.choose(other)
	default:
		u.choose(t)
	}
	return u.chosen
}

// unheard says that an error tells nothing of the crossing itself: the stream
// did not carry it, or carries it no more.
func unheard(err error) bool {
	if err == nil || errors.Is(err, io.EOF) {
		return false
	}
	reset, ok := errors.AsType[*ResetError](err)
	return !ok || reset.Code == Repeated || reset.Code == TunnelClosed || reset.Code == Refused
}

// choose goes on in one stream and lets go of the other one. The caller holds
// mu.
func (u *unsettled) choose(t *telling) {
	u.chosen = t
	u.first.member.open.leave(u)
	if t == &u.second {
		u.first.stream.Reset(Repeated)
		u.pool.cfg.Moved(t.member.Info().Carrier, u.class)
	} else if u.moved {
		if u.second.stream != nil {
			u.second.stream.Reset(Repeated)
		}
		if i, ok := t.stream.(Interruptible); ok {
			i.Resume()
		}
	}
	u.feed()
	u.settle()
}

// settle gives way to the stream that was chosen, as soon as it has all that was
// written and nobody else reads it. The caller holds mu.
func (u *unsettled) settle() {
	u.changed.Broadcast()
	if u.chosen == nil || u.feeding || u.owes(u.chosen) {
		return
	}
	u.direct = true
	if u.header != nil {
		u.header.free()
		u.header = nil
	}
	if u.kept != nil {
		u.kept.free()
		u.kept = nil
	}
	if u.chosen == &u.first || !u.listening {
		u.settled.Store(true)
	}
}

// Write implements Stream.
func (u *unsettled) Write(p []byte) (int, error) {
	if u.settled.Load() {
		return u.chosen.stream.Write(p)
	}
	u.mu.Lock()
	if !u.moved && u.chosen == nil && u.long(p) {
		u.choose(&u.first)
	}
	for u.moved && !u.direct && u.long(p) {
		u.judge()
		u.changed.Wait()
	}
	if u.direct {
		u.mu.Unlock()
		return u.chosen.stream.Write(p)
	}
	u.keep(p)
	if u.moved {
		u.feed()
		u.mu.Unlock()
		return len(p), nil
	}
	u.writing = true
	u.mu.Unlock()
	n, err := u.first.stream.Write(p)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.wrote(n); err != nil && u.toldElsewhere(err) {
		return len(p), nil
	}
	return n, err
}

// Finish implements Finisher.
func (u *unsettled) Finish(p []byte) (int, error) {
	if u.settled.Load() {
		return Finish(u.chosen.stream, p)
	}
	u.mu.Lock()
	if u.moved || u.chosen != nil || u.long(p) {
		u.mu.Unlock()
		n, err := u.Write(p)
		if err != nil {
			return n, err
		}
		return n, u.CloseWrite()
	}
	u.keep(p)
	u.ended, u.writing = true, true
	u.mu.Unlock()
	n, err := Finish(u.first.stream, p)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.first.ended = err == nil
	if u.wrote(n); err != nil && u.toldElsewhere(err) {
		return len(p), nil
	}
	return n, err
}

// long says that there is no room to keep p. The caller holds mu.
func (u *unsettled) long(p []byte) bool { return u.size()+len(p) > mostKept }

func (u *unsettled) size() int {
	if u.kept == nil {
		return 0
	}
	return len(u.kept.b)
}

func (u *unsettled) keep(p []byte) {
	if u.kept == nil {
		u.kept = spareKept.Get().(*kept)
	}
	u.kept.b = append(u.kept.b, p...)
}

// wrote takes note of what the first stream has taken. The caller holds mu.
func (u *unsettled) wrote(n int) {
	u.writing = false
	u.first.told += n
	u.feed()
	u.settle()
}

// toldElsewhere says that feed tells what the first stream did not take: it was
// interrupted, or reset because the other one was chosen. The caller holds mu.
func (u *unsettled) toldElsewhere(err error) bool {
	return u.moved && (u.chosen != &u.first || errors.Is(err, ErrInterrupted))
}

// judge takes the second stream for the chosen one when there was time to hear
// that the peer had the first already. The caller holds mu.
func (u *unsettled) judge() {
	if u.waits || u.chosen != nil {
		return
	}
	u.waits = true
	time.AfterFunc(verdict, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		switch {
		case u.chosen != nil:
		case u.second.stream != nil:
			u.choose(&u.second)
		default:
			u.choose(&u.first)
		}
	})
}

// CloseWrite implements Stream.
func (u *unsettled) CloseWrite() error {
	if u.settled.Load() {
		return u.chosen.stream.CloseWrite()
	}
	u.mu.Lock()
	if u.direct {
		u.mu.Unlock()
		return u.chosen.stream.CloseWrite()
	}
	u.ended = true
	if u.moved {
		u.feed()
		u.mu.Unlock()
		return nil
	}
	u.writing = true
	u.mu.Unlock()
	err := u.first.stream.CloseWrite()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.first.ended = true
	if u.wrote(0); err != nil && u.toldElsewhere(err) {
		return nil
	}
	return err
}

// Reset implements Stream.
func (u *unsettled) Reset(code ResetCode) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.at().stream.Reset(code)
	if u.chosen == nil {
		if u.second.stream != nil {
			u.second.stream.Reset(code)
		}
		u.choose(&u.first)
	}
}

// Done implements Stream. Who asks before it is settled costs a goroutine.
func (u *unsettled) Done() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.settled.Load():
		return u.chosen.stream.Done()
	case u.done == nil:
		u.done = make(chan struct{})
		go func() {
			defer close(u.done)
			u.mu.Lock()
			for u.chosen == nil {
				u.changed.Wait()
			}
			u.mu.Unlock()
			<-u.chosen.stream.Done()
		}()
	}
	return u.done
}
