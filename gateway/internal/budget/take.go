package budget

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

const (
	// maxSlice is the most that is taken at a time for what passes, in bytes: at 10 Gbit/s
	// the ledger is asked some 5,000 times a second.
	maxSlice = 256 << 10
	// parts is how many slices there are at least of what is left, so that one exchange
	// does not take all of it from the others.
	parts = 16
	// tight is the part of a limit that is spread over the rest of its window: a tenth.
	tight = 10
	// floor is the rate to which an exchange is slowed at most, in bytes a second.
	floor = 64 << 10
	// LongestWait is how long an exchange waits at most before something of it passes.
	LongestWait = 2 * time.Second
)

// Grant is what may pass.
type Grant struct {
	// Bytes that may pass; 0 if it is to be asked again.
	Bytes int64
	// Wait is after how long.
	Wait time.Duration
}

// CountsBytes says whether what passes is to be taken.
func (r *Reservation) CountsBytes() bool {
	for _, limit := range r.of {
		if limit.What == limits.Bytes {
			return r.ledger != nil
		}
	}
	return false
}

// Take takes more bytes for an exchange that goes on, of each of its limits in the window
// that is now. It takes want or, as far as there is room, a slice that is larger; less if
// less is left. Waited is how long the exchange has waited for them already.
func (r *Reservation) Take(want int64, waited time.Duration, now time.Time) (Grant, *Refused) {
	l := r.ledger
	if l == nil {
		return Grant{Bytes: want}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g := Grant{Bytes: maxAmount}
	a := l.account(r.caller, r.intent)
	for i, limit := range r.of {
		if limit.What != limits.Bytes {
			continue
		}
		m := l.meter(a, limit, now)
		if m == nil {
			return Grant{}, tooMany(r.intent, limit, now)
		}
		r.holds[i].renew(m)
		slice, refused := l.slice(m, limit, want, waited, now)
		if refused != nil {
			return Grant{}, refused
		}
		g.Bytes, g.Wait = min(g.Bytes, slice.Bytes), max(g.Wait, slice.Wait)
	}
	if g.Bytes > 0 {
		r.took(g.Bytes, now)
	}
	return g, nil
}

// took notes a slice in each limit of bytes. The ledger is locked.
func (r *Reservation) took(n int64, now time.Time) {
	for i, limit := range r.of {
		if limit.What != limits.Bytes {
			continue
		}
		h := &r.holds[i]
		h.meter.pace(n, limit.Most, r.ledger.gateways, now)
		h.meter.reserved += n
		h.amount += n
		r.ledger.touch(h.meter)
	}
}

// renew goes on in the window that is now. What was taken in one that is over has passed,
// but for the rest of a slice.
func (h *hold) renew(m *meter) {
	if h.meter == m && h.start == m.start {
		return
	}
	h.earlier += h.amount
	h.meter, h.start, h.amount = m, m.start, 0
}

// slice is what one limit gives. A window that ends soon is waited for.
func (l *Ledger) slice(m *meter, limit limits.Limit, want int64, waited time.Duration, now time.Time) (Grant, *Refused) {
	left, patience, remains := m.left(limit.Most), LongestWait-waited, m.end().Sub(now)
	if left <= 0 {
		if remains <= patience {
			return Grant{Wait: remains}, nil
		}
		return Grant{}, l.refuse(m, limit, UsedUp, now)
	}
	if wait := min(m.due.Sub(now), patience, remains); wait > 0 {
		return Grant{Wait: wait}, nil
	}
	room := m.room(want, limit.Most, l.gateways)
	if room <= 0 {
		if wait := min(tellEvery, patience, remains); wait > 0 {
			return Grant{Wait: wait}, nil
		}
		return Grant{}, l.refuse(m, limit, ShareUsedUp, now)
	}
	most := min(maxSlice, left/parts)
	if rate, slow := m.rate(limit.Most, l.gateways, now); slow {
		most = min(most, rate)
	}
	if patience <= 0 {
		most = 0 // it goes before others, but not far
	}
	return Grant{Bytes: min(max(most, want), room)}, nil
}

// left is how much nobody has taken.
func (m *meter) left(most int64) int64 { return most - sum(m.own(), m.others) }

// room is the most that is admitted now, some of what is wanted at least if any of it is.
func (m *meter) room(want, most, n int64) int64 {
	own, left := m.own(), m.left(most)
	if share := m.share(most, n); share > own {
		return min(left, share-own)
	}
	if own <= m.told {
		return min(left, want)
	}
	return 0
}

// rate is how many bytes a second this gateway lets pass when little is left.
func (m *meter) rate(most, n int64, now time.Time) (rate int64, slow bool) {
	left := m.left(most)
	if left > most/tight {
		return 0, false
	}
	remains := max(m.end().Sub(now).Seconds(), 0.001)
	return max(int64(float64(left/n)/remains), floor), true
}

// pace says when the next slice is due, if little is left before this one.
func (m *meter) pace(slice, most, n int64, now time.Time) {
	rate, slow := m.rate(most, n, now)
	if !slow {
		return
	}
	if m.due.Before(now) {
		m.due = now
	}
	m.due = m.due.Add(time.Duration(float64(slice) / float64(rate) * float64(time.Second)))
}
