package budget

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

// Telling is what a gateway tells the others at one time. It ends with Heard or Unheard.
type Telling struct {
	// Uses that have changed since they were told.
	Uses []Use
	// Complete says that there are no more of them.
	Complete bool

	told []told
}

// told is what is told of a meter.
type told struct {
	meter       *meter
	start, used int64
}

// Tell is what to tell the others: at most so many uses.
func (l *Ledger) Tell(most int, now time.Time) *Telling {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, n := &Telling{}, 0
	for _, m := range l.changed {
		if len(t.Uses) == most {
			break
		}
		n++
		m.changed = false
		if m.ended(now) {
			continue
		}
		own := m.own()
		// The others may know of less already, when this has come to nothing: what was
		// given back since must not be taken on top of a new share.
		m.told = min(m.told, own)
		t.told = append(t.told, told{m, m.start, own})
		t.Uses = append(t.Uses, m.use(own, ""))
	}
	l.changed = append(l.changed[:0], l.changed[n:]...)
	t.Complete = len(l.changed) == 0
	return t
}

// TellAll has everything told again: whoever passes it on has forgotten it.
func (l *Ledger) TellAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.all {
		for _, m := range a.meters {
			l.mark(m) // nothing too: others may know of something
		}
	}
}

// Unheard says that nobody may have heard a telling.
func (l *Ledger) Unheard(t *Telling) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again(t)
}

// Heard says that a telling was heard, and takes in what others have used. Whole says that
// nobody's use is missing from what this gateway has heard so far: else its shares stay
// as they are.
func (l *Ledger) Heard(t *Telling, others []Use, whole bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range others {
		l.hear(u, now)
	}
	if !whole {
		l.again(t)
		return
	}
	l.heardAt = now
	for _, of := range t.told {
		if of.meter.start == of.start {
			of.meter.told = of.used
			l.version++
		}
	}
}

// Missed says whether something that was heard has to be heard again, as there was no
// room for it or its window had not begun; and takes it that this is seen to.
func (l *Ledger) Missed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	missed := l.missed
	l.missed = false
	return missed
}

func (l *Ledger) again(t *Telling) {
	for _, of := range t.told {
		if of.meter.start == of.start {
			l.mark(of.meter)
		}
	}
}

// mark has a meter told again.
func (l *Ledger) mark(m *meter) {
	if !m.changed && m.isShared() {
		m.changed = true
		l.changed = append(l.changed, m)
	}
}

// hear takes in a use: another gateway's or, without a name, that of an earlier process
// of this one.
func (l *Ledger) hear(u Use, now time.Time) {
	window := int64(u.Window / time.Second)
	if window < int64(shared/time.Second) || u.Start.Unix()+window <= now.Unix() {
		return
	}
	if u.Start.After(now) { // by another clock
		l.missed = true
		return
	}
	m := l.meter(l.account(u.Caller, u.Intent), u.limit(), now)
	switch {
	case m == nil:
		l.dropped = true
		return
	case m.start != u.Start.Unix():
		return // no window begins there
	}
	used := min(max(u.Used, 0), maxAmount)
	if u.Gateway != "" {
		m.hear(u.Gateway, used)
		l.version++
	} else if used > m.before {
		m.before = used
		l.touch(m)
	}
}

func (u *Use) limit() limits.Limit { return limits.Limit{What: u.What, Window: u.Window} }
