package budget

import (
	"math"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

// entry is what is kept of a meter: of this gateway or, with a name, of another one.
type entry struct {
	Caller  string `json:"caller"`
	Intent  string `json:"intent"`
	What    string `json:"what"`
	Window  int64  `json:"window"` // in seconds
	Start   int64  `json:"start"`  // in seconds since 1970
	Used    int64  `json:"used"`   // what was reserved counts as used
	Told    int64  `json:"told,omitempty"`
	Gateway string `json:"gateway,omitempty"`
}

// changes is a number that rises with each change of what is kept.
func (l *Ledger) changes() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.version
}

// snapshot is what is to be kept, and the number of a change that is in it with all before.
// Calls go on meanwhile: each entry stands for itself. It goes from the end of the list,
// to where Sweep moves accounts, so that it misses none.
func (l *Ledger) snapshot(now time.Time) (all []entry, version uint64) {
	version = l.changes()
	for from, more := math.MaxInt, true; more; {
		all, from, more = l.append(all, from, now)
	}
	return all, version
}

// append appends the entries of some accounts before a place in the list, and is the place
// before them.
func (l *Ledger) append(all []entry, from int, now time.Time) (_ []entry, before int, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from = min(from, len(l.all))
	before = max(from-portion, 0)
	for _, a := range l.all[before:from] {
		for _, m := range a.meters {
			if m.isShared() && !m.ended(now) {
				all = m.entries(all)
			}
		}
	}
	return all, before, before > 0
}

// entries appends those of a meter.
func (m *meter) entries(all []entry) []entry {
	e := entry{Caller: m.account.caller, Intent: m.account.intent, What: m.what.String(), Window: m.window, Start: m.start}
	if own := m.own(); own > 0 {
		e.Used, e.Told = own, m.told
		all = append(all, e)
	}
	for _, h := range m.heard {
		e.Used, e.Told, e.Gateway = h.used, 0, h.gateway
		all = append(all, e)
	}
	return all
}

// restore takes in what was kept: it is what earlier processes of this gateway used, and
// what they heard. It may be done again.
func (l *Ledger) restore(entries []entry, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		what, ok := limits.ParseWhat(e.What)
		if !ok {
			continue // of a later release
		}
		u := Use{
			Caller: e.Caller, Intent: e.Intent, What: what, Window: time.Duration(e.Window) * time.Second,
			Start: time.Unix(e.Start, 0), Used: e.Used, Gateway: e.Gateway,
		}
		l.hear(u, now)
		if e.Gateway == "" {
			l.knewOf(u, e.Told)
		}
	}
}

// knewOf remembers what the others may know of an earlier process.
func (l *Ledger) knewOf(u Use, told int64) {
	a := l.accounts[owner{u.Caller, u.Intent}]
	if a == nil {
		return
	}
	for _, m := range a.meters {
		if m.is(u.limit()) && m.start == u.Start.Unix() {
			m.told = max(m.told, min(told, m.before))
		}
	}
}
