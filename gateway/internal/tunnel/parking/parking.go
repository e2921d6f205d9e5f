// Package parking waits for many connections to have something to read, with
// one goroutine for all of them. It reads none.
//
// One invariant holds: each Park ends in one of two ways. Either its wake is
// called, once, or Leave has said that it never will be.
package parking

import (
	"os"
	"sync"
	"syscall"
)

// Lot is where connections wait.
type Lot struct {
	poll *os.File        // the system's queue of events
	raw  syscall.RawConn // the same

	mu     sync.Mutex // guards what follows
	last   Ticket
	parked map[Ticket]func()
}

// Ticket is one wait. None is given out twice: what the system still says of a
// wait that is over, or of a connection that was closed meanwhile, wakes nobody
// else. Zero is no ticket.
type Ticket uint64

// Park calls wake as soon as there is something to read, an end or a failure
// included, and so at once if there is already. Wake must not wait: it holds up
// all others. A connection waits once at a time. Closing it does not wake: Leave
// comes first.
func (l *Lot) Park(c syscall.RawConn, wake func()) (Ticket, error) {
	l.mu.Lock()
	l.last++
	t := l.last
	l.parked[t] = wake
	l.mu.Unlock()
	if err := l.await(c, t); err != nil {
		l.take(t)
		return 0, err
	}
	return t, nil
}

// Leave ends a wait, unless wake is called or has been; it says which.
func (l *Lot) Leave(t Ticket) bool { return l.take(t) != nil }

// take ends a wait. It is nil for all but the first who does.
func (l *Lot) take(t Ticket) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	wake := l.parked[t]
	delete(l.parked, t)
	return wake
}

// Close makes Run return. Who still waits is not woken.
func (l *Lot) Close() { l.poll.Close() }
