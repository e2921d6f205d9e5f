package budget

import "github.com/sallyport-mesh/sallyport/gateway/policy/limits"

// Reservation is what was taken for a call. Its zero value is of nothing. It is ended
// once, by whoever has it: it must not be copied and both ended.
type Reservation struct {
	ledger *Ledger // nil when it has ended
	holds  [4]hold // one for each limit

	caller, intent string         // for what is taken later
	of             []limits.Limit // as many as there are holds
}

// hold is a part of a reservation.
type hold struct {
	meter  *meter // nil for none
	start  int64  // of the window in which it was reserved
	amount int64

	earlier int64 // of bytes: taken in windows that are over
}

// Settle ends the reservation with what the call came to: what was reserved beyond that is
// given back, and what it came to beyond the reservation is taken too, whatever the
// limit. If the window is over it changes nothing any more; of bytes that were taken as
// they passed, the last window counts. Only the first of several counts.
func (r *Reservation) Settle(actual Amounts) {
	l := r.ledger
	if l == nil {
		return
	}
	r.ledger = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range r.holds {
		if h.meter == nil || h.meter.start != h.start {
			continue
		}
		h.meter.reserved -= h.amount
		h.meter.used = sum(h.meter.used, max(actual.of(h.meter.what)-h.earlier, 0))
		l.touch(h.meter)
	}
}

// Drop ends the reservation of a call that did not go on: all of it is given back.
func (r *Reservation) Drop() { r.Settle(Amounts{}) }
