package tunnel

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

const (
	// watchInterval is how often Run looks whether a tunnel has fallen silent while
	// streams in it have no answer yet.
	watchInterval = 50 * time.Millisecond
	// watchOn is how many looks it goes on without such streams, so that a gateway
	// with work to do is not woken for each crossing.
	watchOn = 100
)

// unanswered are the streams of a tunnel that no answer has come to, and that
// were said nowhere else.
type unanswered struct {
	mu    sync.Mutex // guards what follows
	first *unsettled
}

func (l *unanswered) enter(u *unsettled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u.next = l.first; u.next != nil {
		u.next.prev = u
	}
	l.first = u
}

// leave takes a stream out, if it is in.
func (l *unanswered) leave(u *unsettled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case u.prev != nil:
		u.prev.next = u.next
	case l.first == u:
		l.first = u.next
	default:
		return
	}
	if u.next != nil {
		u.next.prev = u.prev
	}
	u.next, u.prev = nil, nil
}

func (l *unanswered) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first == nil
}

// all gives the streams that are in now.
func (l *unanswered) all() []*unsettled {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*unsettled
	for u := l.first; u != nil; u = u.next {
		u.seen = true
		all = append(all, u)
	}
	return all
}

// watched says whether Run watches. It sleeps while nothing waits for an answer.
type watched struct {
	asleep atomic.Bool
	wake   chan struct{} // holds one signal for Run
	idle   int           // Run's: looks at which nothing waited
}

// stir wakes Run for a stream that was just entered.
func (w *watched) stir() {
	if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
		w.wake <- struct{}{}
	}
}

// watch says crossings again that wait for an answer where nobody answers. It
// says whether to look again.
func (p *Pool) watch() bool {
	if p.rescue() {
		p.watched.idle = 0
		return true
	}
	if p.watched.idle++; p.watched.idle < watchOn {
		return true
	}
	p.watched.asleep.Store(true)
	if !p.rescue() {
		return false
	}
	// A stream came just before; whoever has seen the sleep has sent a signal.
	return p.watched.asleep.CompareAndSwap(true, false)
}

// rescue says whether any stream waits for an answer.
func (p *Pool) rescue() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := false
	for _, m := range p.members {
		waits := !m.open.empty()
		if !waits && !m.silent {
			continue
		}
		waiting = waiting || waits
		i := m.Info()
		if m.silent = i.mute(); m.silent {
			p.evacuate(m)
		}
	}
	return waiting
}

// evacuate moves what waits in a tunnel whose peer does not answer to others of
// its class; what was not opened yet finds another one by itself. Only those will
// do that were there when the stream was opened, and lead to a process of the same
// generation: what answers in them is the very process that may have taken the
// crossing, and not one that was started since, or takes its place, and would take
// it again. The caller holds mu.
func (p *Pool) evacuate(m *member) {
	if t, ok := m.Tunnel.(interface{ Interrupt() }); ok {
		t.Interrupt()
	}
	waiting := m.open.all()
	if len(waiting) == 0 {
		return
	}
	others := [...][]*member{Interactive: p.others(m, Interactive), Bulk: p.others(m, Bulk)}
	for _, u := range waiting {
		to := slices.IndexFunc(others[u.class], func(o *member) bool { return o.number <= u.known })
		if to >= 0 {
			u.move(others[u.class][to])
		}
	}
}

// others are the tunnels of a class to the same process of a peer in which it
// answers, the best one first. The caller holds mu.
func (p *Pool) others(m *member, class Class) []*member {
	pr := p.peers[m.id]
	if pr == nil {
		return nil
	}
	var all []*member
	generation := m.Info().Generation
	ranks := map[*member]rank{}
	for _, o := range p.members {
		if o == m || o.id != m.id || !o.usable() {
			continue
		}
		if i := o.Info(); i.Class == class && i.Generation == generation && !i.mute() {
			all = append(all, o)
			ranks[o] = pr.path.rank(&i, 0)
		}
	}
	slices.SortFunc(all, func(a, b *member) int {
		if ranks[a].less(ranks[b]) {
			return -1
		}
		return 1
	})
	return all
}

// move says the crossing again in another tunnel. The caller holds the pool's
// mu.
func (u *unsettled) move(to *member) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.chosen != nil || u.moved {
		return
	}
	u.moved = true
	u.first.member.open.leave(u)
	u.second.member, u.second.choice = to, Failover
	if i, ok := u.first.stream.(Interruptible); ok && u.writing {
		i.Interrupt()
	}
	h, err := crossing.UnmarshalHeader(u.header.b)
	u.pool.run.group.Go(func() {
		if err != nil {
			u.listen(nil, err)
			return
		}
		ctx, cancel := context.WithTimeout(u.pool.run.serving, u.pool.cfg.DialTimeout)
		defer cancel()
		s, err := to.Open(ctx, h)
		u.listen(s, err)
	})
}

// listen waits for the first byte that comes in the second stream, and takes no
// more: the rest is for who reads.
func (u *unsettled) listen(s Stream, err error) {
	if !u.opened(s, err) {
		return
	}
	var b [1]byte
	n, err := s.Read(b[:])
	if n > 0 {
		u.early = b[:]
	}
	u.heard(&u.second, n, err)
}

// opened takes the second stream, if there is still a use for it.
func (u *unsettled) opened(s Stream, err error) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err != nil && u.chosen == nil:
		u.choose(&u.first)
	case err == nil && u.chosen != nil:
		s.Reset(Repeated)
	case err == nil:
		u.second.stream, u.listening = s, true
		u.feed()
		return true
	}
	return false
}

// owes says that a stream has not been told all that was written since the
// crossing moved. The caller holds mu.
func (u *unsettled) owes(t *telling) bool {
	return u.moved && (t.told < u.size() || u.ended && !t.ended)
}

// feed tells the chosen stream, or the second one while none is, what it has
// not been told, in a goroutine of its own. The caller holds mu.
func (u *unsettled) feed() {
	if !u.feeding && u.hungry() != nil {
		u.feeding = true
		go u.feedAll()
	}
}

// hungry is the stream to feed now; nil if there is none. The caller holds mu.
func (u *unsettled) hungry() *telling {
	t := u.chosen
	if t == nil {
		t = &u.second
	}
	if t.stream == nil || !u.owes(t) || t == &u.first && u.writing {
		return nil
	}
	return t
}

func (u *unsettled) feedAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for t := u.hungry(); t != nil; t = u.hungry() {
		var rest []byte
		if u.kept != nil {
			rest = u.kept.b[t.told:]
		}
		last := u.ended
		u.mu.Unlock()
		err := t.tell(rest, last)
		u.mu.Lock()
		t.told, t.ended = t.told+len(rest), last
		if err != nil { // who reads is told why
			t.told, t.ended = mostKept, true
		}
	}
	u.feeding = false
	u.settle()
}

// tell writes what is left to say and, if it is the last of it, the end.
func (t *telling) tell(rest []byte, last bool) error {
	if len(rest) > 0 {
		if _, err := t.stream.Write(rest); err != nil {
			return err
		}
	}
	if last {
		return t.stream.CloseWrite()
	}
	return nil
}
