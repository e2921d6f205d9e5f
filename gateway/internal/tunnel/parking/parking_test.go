package parking

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
)

// patience bounds each wait; it is reached only by a fault.
const patience = 30 * time.Second

// open gives an empty lot. Unless it is to be run later, it runs.
func open(t *testing.T, run bool) *Lot {
	t.Helper()
	l, err := Open()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("needs epoll")
	}
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	if run {
		running.Go(l.Run)
	}
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l
}

func rawOf(t *testing.T, c *net.TCPConn) syscall.RawConn {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// park parks a connection; each wake is sent on the channel.
func park(t *testing.T, l *Lot, c *net.TCPConn) (Ticket, <-chan struct{}) {
	t.Helper()
	woken := make(chan struct{}, 10)
	ticket, err := l.Park(rawOf(t, c), func() { woken <- struct{}{} })
	if err != nil || ticket == 0 {
		t.Fatalf("Park = %d, %v", ticket, err)
	}
	return ticket, woken
}

func wantWoken(t *testing.T, woken <-chan struct{}) {
	t.Helper()
	select {
	case <-woken:
	case <-time.After(patience):
		t.Fatal("nobody was woken")
	}
}

// wantAsleep looks after another connection was woken, so that events of before
// have been seen.
func wantAsleep(t *testing.T, l *Lot, woken <-chan struct{}) {
	t.Helper()
	program, gateway := tunneltest.TCPPair(t)
	_, other := park(t, l, gateway)
	program.Write([]byte("x"))
	wantWoken(t, other)
	select {
	case <-woken:
		t.Error("somebody was woken")
	default:
	}
}

func TestWhatWakes(t *testing.T) {
	for name, happens := range map[string]func(program *net.TCPConn){
		"bytes":      func(c *net.TCPConn) { c.Write([]byte("x")) },
		"an end":     func(c *net.TCPConn) { c.CloseWrite() },
		"a close":    func(c *net.TCPConn) { c.Close() },
		"a reset":    func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"much of it": func(c *net.TCPConn) { c.Write(make([]byte, 64<<10)); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, true)
			program, gateway := tunneltest.TCPPair(t)
			ticket, woken := park(t, l, gateway)
			wantAsleep(t, l, woken)
			happens(program)
			wantWoken(t, woken)
			wantAsleep(t, l, woken) // not twice
			if l.Leave(ticket) {
				t.Error("one who was woken leaves")
			}
			_, woken = park(t, l, gateway) // it is still so
			wantWoken(t, woken)
		})
	}
}

// What came before a connection is parked wakes it too: nothing is lost between
// the last read and Park.
func TestNothingIsLost(t *testing.T) {
	l := open(t, true)
	program, gateway := tunneltest.TCPPair(t)
	for range 500 {
		go program.Write([]byte("x"))
		_, woken := park(t, l, gateway)
		wantWoken(t, woken)
		if n, err := gateway.Read(make([]byte, 10)); n != 1 || err != nil {
			t.Fatalf("Read = %d, %v", n, err)
		}
	}
}

func TestLeave(t *testing.T) {
	l := open(t, true)
	program, gateway := tunneltest.TCPPair(t)
	ticket, woken := park(t, l, gateway)
	if !l.Leave(ticket) {
		t.Error("one who waits does not leave")
	}
	if l.Leave(ticket) || l.Leave(0) || l.Leave(ticket+1) {
		t.Error("one who does not wait leaves")
	}
	program.Write([]byte("x"))
	wantAsleep(t, l, woken)
	_, woken = park(t, l, gateway)
	wantWoken(t, woken)
}

// What the system still says of a connection that was closed wakes nobody, least
// of all the one that has its number now.
func TestNumbersThatAreUsedAgain(t *testing.T) {
	l := open(t, false)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	program, gateway := tunneltest.TCPPair(t)
	program.Write([]byte("x"))
	number := numberOf(t, gateway)
	ticket, gone := park(t, l, gateway)
	if !l.Leave(ticket) {
		t.Fatal("it does not leave")
	}
	gateway.Close()
	var next *net.TCPConn
	for next == nil || numberOf(t, next) != number { // the lowest that is free is next
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		next = c.(*net.TCPConn)
	}
	_, asleep := park(t, l, next)
	var running sync.WaitGroup
	running.Go(l.Run)
	wantAsleep(t, l, gone)
	wantAsleep(t, l, asleep)
	l.Close()
	running.Wait()
}

func wantEmpty(t *testing.T, l *Lot) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.parked); n != 0 {
		t.Errorf("%d are still in the lot", n)
	}
}

func numberOf(t *testing.T, c *net.TCPConn) (number uintptr) {
	t.Helper()
	if err := rawOf(t, c).Control(func(fd uintptr) { number = fd }); err != nil {
		t.Fatal(err)
	}
	return number
}

// TestManyAtOnce: each of many that are woken and leave at the same time is told
// one of the two, once, and none had a goroutine.
func TestManyAtOnce(t *testing.T) {
	const many = 500
	l := open(t, true)
	before := runtime.NumGoroutine()
	programs, tickets := make([]*net.TCPConn, many), make([]Ticket, many)
	woken, left := make([]atomic.Int32, many), make([]atomic.Int32, many)
	var told sync.WaitGroup
	told.Add(many)
	for i := range many {
		var gateway *net.TCPConn
		programs[i], gateway = tunneltest.TCPPair(t)
		var err error
		if tickets[i], err = l.Park(rawOf(t, gateway), func() { woken[i].Add(1); told.Done() }); err != nil {
			t.Fatal(err)
		}
	}
	if n := runtime.NumGoroutine() - before; n > many/10 {
		t.Errorf("%d goroutines for %d that wait", n, many)
	}
	var both sync.WaitGroup
	both.Go(func() {
		for _, p := range programs {
			p.Write([]byte("x"))
		}
	})
	both.Go(func() {
		for i := many - 1; i >= 0; i-- {
			if l.Leave(tickets[i]) {
				left[i].Add(1)
				told.Done()
			}
		}
	})
	both.Wait()
	told.Wait()
	for i := range many {
		if n, m := woken[i].Load(), left[i].Load(); n+m != 1 {
			t.Errorf("%d was woken %d times and left %d times", i, n, m)
		}
	}
	wantEmpty(t, l)
}

func TestAfterTheEnd(t *testing.T) {
	l := open(t, true)
	_, gateway := tunneltest.TCPPair(t)
	ticket, _ := park(t, l, gateway)
	l.Close()
	if _, err := l.Park(rawOf(t, gateway), func() { t.Error("woken") }); err == nil {
		t.Error("a connection is parked in a lot that is closed")
	}
	if !l.Leave(ticket) {
		t.Error("one who waited cannot leave")
	}
	l = open(t, true)
	raw := rawOf(t, gateway)
	gateway.Close()
	if _, err := l.Park(raw, func() { t.Error("woken") }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Park of a closed connection: %v, want net.ErrClosed", err)
	}
	wantEmpty(t, l)
}
