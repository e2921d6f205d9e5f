package parking

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// atOnce is how many events one system call fetches.
const atOnce = 128

// Open makes an empty lot. It fails with errors.ErrUnsupported where the system
// cannot do it.
func Open() (*Lot, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// The runtime's own poller waits for ours, if it is one that does not block.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd) //nolint:errcheck // it was never used
		return nil, os.NewSyscallError("fcntl", err)
	}
	l := &Lot{poll: os.NewFile(uintptr(fd), "epoll"), parked: map[Ticket]func(){}}
	l.raw, err = l.poll.SyscallConn()
	if err == nil {
		err = l.poll.SetReadDeadline(time.Time{}) // fails if it is not waited for that way
	}
	if err != nil {
		l.poll.Close()
		return nil, fmt.Errorf("wait for epoll: %w", err)
	}
	return l, nil
}

// Run wakes those whose turn it is until Close.
func (l *Lot) Run() {
	events := make([]syscall.EpollEvent, atOnce)
	for {
		n := 0
		err := l.raw.Read(func(fd uintptr) bool {
			n = happened(int(fd), events)
			return n != 0
		})
		if err != nil || n < 0 {
			return
		}
		for i := range n {
			if wake := l.take(ticket(&events[i])); wake != nil {
				wake()
			}
		}
	}
}

// happened fetches events without waiting. It is negative if there will be none
// any more.
func happened(poll int, events []syscall.EpollEvent) int {
	for {
		n, err := syscall.EpollWait(poll, events, 0)
		if !errors.Is(err, syscall.EINTR) {
			return n
		}
	}
}

// await asks for one event. A connection that has waited before is still known,
// and forgotten when it is closed. An event is of the level: what came before
// this call counts.
func (l *Lot) await(c syscall.RawConn, t Ticket) error {
	e := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT,
		Fd:     int32(t), Pad: int32(t >> 32),
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		err := l.raw.Control(func(poll uintptr) {
			failed = syscall.EpollCtl(int(poll), syscall.EPOLL_CTL_ADD, int(fd), &e)
			if errors.Is(failed, syscall.EEXIST) {
				failed = syscall.EpollCtl(int(poll), syscall.EPOLL_CTL_MOD, int(fd), &e)
			}
		})
		if err != nil {
			failed = err
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("epoll_ctl", failed)
}

func ticket(e *syscall.EpollEvent) Ticket { return Ticket(uint32(e.Fd)) | Ticket(uint32(e.Pad))<<32 }
