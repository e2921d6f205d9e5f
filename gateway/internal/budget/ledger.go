package budget

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

const (
	// maxMeters bounds what a ledger remembers: one is about 200 bytes.
	maxMeters = 1 << 16
	// portion is how many accounts are gone through while calls wait.
	portion = 1 << 10
)

// Ledger is what callers have used at this gateway, and what is known of the others.
// Make it with New. All methods may be called concurrently.
type Ledger struct {
	most int // meters

	mu       sync.Mutex // guards what follows
	accounts map[owner]*account
	all      []*account // the same, to go through in portions
	next     int        // behind the one that is looked at next for what is over
	meters   int
	gateways int64     // of the environment
	changed  []*meter  // that are to be told
	heardAt  time.Time // when the others were last heard of
	version  uint64    // rises with each change of what outlasts a restart
	swept    int64     // when it was last looked for what is over, in seconds since 1970
	dropped  bool      // something was heard that there was no room for
	missed   bool      // it has to be heard again
}

// owner is whose an account is.
type owner struct{ caller, intent string }

// New makes an empty ledger of the one gateway of an environment.
func New() *Ledger {
	return &Ledger{most: maxMeters, accounts: map[owner]*account{}, gateways: 1}
}

// SetGateways says how many gateways the environment has, this one among them.
func (l *Ledger) SetGateways(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gateways = int64(max(n, 1))
}

// Reserve takes what a call may come to from each of an intent's limits, or from none: then
// it says why. The reservation is to be ended by Settle or Drop. For a caller that is known
// Reserve does not allocate, unless it refuses.
func (l *Ledger) Reserve(caller, intent string, of []limits.Limit, want Amounts, now time.Time) (Reservation, *Refused) {
	var r Reservation
	if len(of) == 0 {
		return r, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(caller, intent)
	for i, limit := range of {
		m := l.meter(a, limit, now)
		if m == nil {
			return Reservation{}, tooMany(intent, limit, now)
		}
		amount := want.of(limit.What)
		if why := m.admits(amount, limit.Most, l.gateways); why != 0 {
			return Reservation{}, l.refuse(m, limit, why, now)
		}
		r.holds[i] = hold{meter: m, start: m.start, amount: amount}
	}
	r.ledger, r.caller, r.intent, r.of = l, a.caller, a.intent, of
	for _, h := range r.holds[:len(of)] {
		h.meter.reserved += h.amount
		l.touch(h.meter)
	}
	return r, nil
}

// account is a caller's under an intent. A new one is kept as soon as it has a meter.
func (l *Ledger) account(caller, intent string) *account {
	if a := l.accounts[owner{caller, intent}]; a != nil {
		return a
	}
	// The texts may be parts of larger ones that go away.
	return &account{caller: strings.Clone(caller), intent: strings.Clone(intent)}
}

// meter is the one of a limit, in the window that is now; nil if there is no room for
// another.
func (l *Ledger) meter(a *account, limit limits.Limit, now time.Time) *meter {
	for _, m := range a.meters {
		if m.is(limit) {
			m.roll(startOf(now, m.window))
			return m
		}
	}
	if l.meters >= l.most && l.swept != now.Unix() { // not for each call that there is no room for
		l.sweep(now)
	}
	if l.meters >= l.most {
		return nil
	}
	window := int64(limit.Window / time.Second)
	m := &meter{account: a, what: limit.What, window: window, start: startOf(now, window)}
	a.meters = append(a.meters, m)
	if len(a.meters) == 1 {
		l.add(a)
	}
	l.meters++
	return m
}

// touch remembers that a meter is to be told and kept.
func (l *Ledger) touch(m *meter) {
	if !m.isShared() {
		return
	}
	l.version++
	if !m.changed {
		m.changed = true
		l.changed = append(l.changed, m)
	}
}

// Sweep forgets the windows that are over, and callers of whom there is nothing else, of a
// part of all accounts: a full ledger takes a minute of one each second.
func (l *Ledger) Sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
}

func (l *Ledger) sweep(now time.Time) {
	l.swept = now.Unix()
	over := func(m *meter) bool { return m.ended(now) }
	freed := 0
	for range min(portion, len(l.all)) {
		if l.next--; l.next < 0 {
			l.next = len(l.all) - 1
		}
		a := l.all[l.next]
		n := len(a.meters)
		a.meters = slices.DeleteFunc(a.meters, over)
		if freed += n - len(a.meters); len(a.meters) == 0 {
			l.remove(a)
		}
	}
	l.changed = slices.DeleteFunc(l.changed, over)
	l.meters -= freed
	if freed > 0 && l.dropped {
		l.dropped, l.missed = false, true
	}
}

func (l *Ledger) add(a *account) {
	a.index = len(l.all)
	l.all = append(l.all, a)
	l.accounts[owner{a.caller, a.intent}] = a
}

// remove puts the last account in the place of one.
func (l *Ledger) remove(a *account) {
	last := len(l.all) - 1
	l.all[a.index] = l.all[last]
	l.all[a.index].index = a.index
	l.all[last] = nil
	l.all = l.all[:last]
	delete(l.accounts, owner{a.caller, a.intent})
}
